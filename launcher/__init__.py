"""`launch` runs machine-learning experiments in phases. Rooms and who may import whom: docs/architecture.md."""

__version__ = "0.1.0"
