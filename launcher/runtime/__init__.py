"""What runs inside a phase's own process on top of torch, transformers and accelerate.

It may import memory, model and task.
Nothing imports this room but a phase's own code, so its heavy imports cost only those who ask for them.
"""
