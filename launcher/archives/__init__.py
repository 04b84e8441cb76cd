"""What travels to a node, built on the client: node kit and code snapshot. Imports store, model and errors."""
