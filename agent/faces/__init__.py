"""Faces of a picture: their detection, and the step that restores each of them."""
