"""The packed graph: operators, their functions, and what passes between 1-bit layers."""
