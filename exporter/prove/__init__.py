"""Proof that a written file computes what its source computes."""
