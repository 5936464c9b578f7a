"""Faces: finding, aligning, recognising and pasting them back, and the experts made for aligned faces."""
