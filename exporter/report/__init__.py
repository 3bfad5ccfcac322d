"""What was done, in numbers."""
