"""What Turnout tells of itself: traces, counts for Prometheus, lines of log."""
