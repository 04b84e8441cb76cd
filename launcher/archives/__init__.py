"""What travels to a node, built on the client: the node kit and the snapshot of a project's code. Imports model and errors."""
