"""Measurable evidence of degradations: one module each, numbers in named units, no judgement."""
