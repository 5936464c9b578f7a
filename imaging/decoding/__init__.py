"""Decoding of untrusted files in a separate process."""
