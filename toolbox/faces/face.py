"""What is known of one face in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Point: TypeAlias = tuple[float, float]
SMALLEST = 24.0
"""Pixels of a face's side below which there is nothing to be true to."""
PROFILE = 0.35
"""How far a face may turn before its eyes are no longer a measure of its size."""


@dataclass(frozen=True, slots=True)
class Face:
    """One face. Positions are in pixels of the picture in which it was found, the upper left corner at 0."""

    left: float
    top: float
    width: float
    height: float
    landmarks: tuple[Point, Point, Point, Point, Point]
    """Eyes, tip of the nose, corners of the mouth; the one further left in the picture first."""
    score: float = 1.0
    """The detector's confidence, 0..1."""

    @property
    def size(self) -> float:
        """The longer side of its box."""
        return max(self.width, self.height)

    @property
    def centre(self) -> Point:
        """Of its box."""
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def turned(self) -> float:
        """0 for a face seen from the front; about 0.5 and more for a profile: how far the nose is from the middle of
        the eyes, in sizes of the face.
        """
        left, right, nose = (np.array(point) for point in self.landmarks[:3])
        along = right - left
        length = max(float(np.hypot(*along)), 1e-6)
        return abs(float(np.dot(nose - (left + right) / 2, along)) / length) / max(0.4 * self.size, length)

    @property
    def is_profile(self) -> bool:
        """Whether it is placed by its size, because the distance of its eyes says nothing."""
        left, right = (np.array(point) for point in self.landmarks[:2])
        return self.turned > PROFILE or float(np.hypot(*(right - left))) < 0.2 * self.size

    @property
    def is_too_small(self) -> bool:
        """Whether there is nothing in it to restore."""
        return self.size < SMALLEST

    def scaled(self, x: float, y: float) -> Face:
        """The same face in the picture made `x` times as wide and `y` times as high."""
        points = tuple((px * x, py * y) for px, py in self.landmarks)
        first, second, nose, third, fourth = points
        return Face(
            self.left * x,
            self.top * y,
            self.width * x,
            self.height * y,
            (first, second, nose, third, fourth),
            self.score,
        )
