"""Nets that are known: by name, by their tensors, or from the user's own code."""
