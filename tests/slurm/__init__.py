"""Tests against a real SLURM on this host."""
