"""Malformed files, each with the mistakes that must be named: line, key, and words of the message."""
