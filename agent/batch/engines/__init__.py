"""Engines of a batch: this process, worker processes, or actors of a Ray cluster."""
