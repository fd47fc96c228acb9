"""What the work costs: memory, time and disk space."""
