"""What the cache by meaning is tuned on, and measured by."""
