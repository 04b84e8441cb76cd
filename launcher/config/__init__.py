"""YAML, environment and flags to the model; a mistake is a Problem with file, line and key. Imports model and errors."""
