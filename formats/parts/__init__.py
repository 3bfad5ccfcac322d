"""What several formats share: bits, gaps, and one packed tensor as a file."""
