"""Figures as pages and tables."""
