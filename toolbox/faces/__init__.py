"""Faces: detection, alignment, recognition, pasting back, and the classical experts for aligned crops."""
