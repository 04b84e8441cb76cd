"""Which checkpoints are complete, which may go, and that they went."""
