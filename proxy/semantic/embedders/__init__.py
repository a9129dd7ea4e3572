"""What turns a question into a vector."""
