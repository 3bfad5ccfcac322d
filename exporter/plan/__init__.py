"""What will be done with every weight, and packing it."""
