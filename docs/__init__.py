"""Documents, and the generator of their tables."""
