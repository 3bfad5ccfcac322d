"""One runtime a file, behind one small interface."""
