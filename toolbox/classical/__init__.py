"""Experts that need no weights, one module per task."""
