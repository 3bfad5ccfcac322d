"""What exporting takes in memory, as the operating system counts it."""
