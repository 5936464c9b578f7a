"""Decoding of foreign files, in a process of its own."""
