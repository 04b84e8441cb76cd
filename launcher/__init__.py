"""`launch`: a launcher for machine-learning experiments that run in phases. Rooms and who may import whom: docs/architecture.md."""

__version__ = "0.1.0"
