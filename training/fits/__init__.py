"""Fits the small models and priors of iqa/, toolbox/classical/ and agent/."""
