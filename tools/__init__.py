"""What only makes our documents: README tables, result tables, golden files, the lab report."""
