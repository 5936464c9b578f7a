"""Measurements of restore4k and of its peers."""
