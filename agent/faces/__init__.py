"""Faces of a picture: their detection and finding, and the step that restores each of them."""
