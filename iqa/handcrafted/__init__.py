"""Handcrafted features for degradations: one module for each kind, as numbers in named units."""
