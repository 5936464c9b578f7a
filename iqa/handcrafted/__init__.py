"""Handcrafted features for degradations: one module each, numbers in named units, no judgement."""
