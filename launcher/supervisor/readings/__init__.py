"""What is seen of the child, the node, its GPUs and disks: each source in its own thread, behind a deadline."""
