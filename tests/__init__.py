"""The tests of `launch`, with real processes, files and signals."""
