"""What is caught of a child that stands still before it is ended: stacks, open files, the log's last lines."""
