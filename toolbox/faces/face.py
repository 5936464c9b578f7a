"""A detected face: box, landmarks and pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Point: TypeAlias = tuple[float, float]
SMALLEST = 24.0
"""Smaller faces, in pixels, contain too little information for a restoration."""
PROFILE = 0.35
"""Maximum rotation (`turned`) at which the eye distance shows the size of the face."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face, in pixels of the image in which it was detected; the origin is the upper left corner."""

    left: float
    top: float
    width: float
    height: float
    landmarks: tuple[Point, Point, Point, Point, Point]
    """Eyes, tip of the nose, corners of the mouth; the left one in the image first."""
    score: float = 1.0
    """The detector's confidence, 0..1."""

    @property
    def size(self) -> float:
        """The longer side of its box."""
        return max(self.width, self.height)

    @property
    def centre(self) -> Point:
        """The centre of its box."""
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def turned(self) -> float:
        """Distance of the nose from the midpoint of the eyes, relative to the face: 0 for a frontal face, about 0.5
        and more for a profile.
        """
        left, right, nose = (np.array(point) for point in self.landmarks[:3])
        along = right - left
        length = max(float(np.hypot(*along)), 1e-6)
        return abs(float(np.dot(nose - (left + right) / 2, along)) / length) / max(0.4 * self.size, length)

    @property
    def is_profile(self) -> bool:
        """Whether it is aligned by its box, because the eye distance does not show its size."""
        left, right = (np.array(point) for point in self.landmarks[:2])
        return self.turned > PROFILE or float(np.hypot(*(right - left))) < 0.2 * self.size

    @property
    def is_too_small(self) -> bool:
        """Whether it is too small for a restoration."""
        return self.size < SMALLEST

    def scaled(self, x: float, y: float) -> Face:
        """The same face after scaling the image by `x` horizontally and `y` vertically."""
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
