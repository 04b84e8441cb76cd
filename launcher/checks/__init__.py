"""What can be known before submitting, one check per file, all in table.py. Imports executors' contract, model, errors."""
