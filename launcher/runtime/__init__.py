"""What runs inside a phase's own process on top of torch, transformers and accelerate; only a phase's own code imports it.
It may import memory, model and task."""
