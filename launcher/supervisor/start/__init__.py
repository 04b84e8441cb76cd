"""From a spec to a running child: the working tree, the environment around it, the fork."""
