"""Trains, measures and exports the restoration networks."""
