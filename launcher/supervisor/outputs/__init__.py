"""From a working tree to committed artifacts, and what is left over."""
