"""On the node: the program that owns an allocation: queue, share of the machine, one supervisor per attempt, the end."""
