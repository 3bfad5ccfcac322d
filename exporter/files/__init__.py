"""Files: opened safely, written whole, nothing interpreted."""
