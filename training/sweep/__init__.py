"""Sweeps: accuracy and bytes over rates, seeds and ways of retraining, one row a file."""
