"""Fault suites with fixed seeds: a sample runs in CI, `make soak` runs the full counts in pieces that can be resumed."""
