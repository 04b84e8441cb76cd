"""Durable bytes: every key's name in one file, records in and out. Imports model and errors only."""
