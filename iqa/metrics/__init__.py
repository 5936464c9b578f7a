"""Metrics as pure functions; each module lists its own in `METRICS`."""
