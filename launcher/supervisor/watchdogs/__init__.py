"""The judges of an attempt, one subject per file. They see samples and nothing else: no clock, no file, no process."""
