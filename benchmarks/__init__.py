"""Measurements of `launch` beside its peers, in the same run. `python -m benchmarks` runs all; nothing here decides a test."""
