"""Matching of two lists of faces by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolbox.faces.face import Face

MOST_DISTANCE = 0.6
"""Maximum distance between the centres of the same face, relative to its size."""
LEAST_OVERLAP = 0.2


@dataclass(frozen=True, slots=True)
class Matches:
    """Indices of matched and unmatched faces of both lists."""

    pairs: tuple[tuple[int, int], ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]


def match(first: Sequence[Face], second: Sequence[Face]) -> Matches:
    """The assignment with the largest total overlap (Hungarian algorithm); both lists in the same coordinates.

    Faces whose boxes hardly overlap and whose centres are far apart are not matched.
    """
    from scipy.optimize import linear_sum_assignment

    cost = np.array([[_cost(one, other) for other in second] for one in first]).reshape(len(first), len(second))
    rows, columns = linear_sum_assignment(cost)
    pairs = tuple(
        (int(row), int(column))
        for row, column in zip(rows, columns, strict=True)
        if _are_same(first[row], second[column])
    )
    return Matches(
        pairs,
        tuple(sorted(set(range(len(first))) - {row for row, _ in pairs})),
        tuple(sorted(set(range(len(second))) - {column for _, column in pairs})),
    )


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of the boxes, 0..1."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(0.0, width) * max(0.0, height)
    return shared / max(one.width * one.height + other.width * other.height - shared, 1e-9)


def _cost(one: Face, other: Face) -> float:
    return min(_distance(one, other), 10.0) - overlap(one, other)


def _distance(one: Face, other: Face) -> float:
    (x, y), (u, v) = one.centre, other.centre
    return float(np.hypot(x - u, y - v)) / max((one.size + other.size) / 2, 1e-9)


def _are_same(one: Face, other: Face) -> bool:
    ratio = max(one.size, other.size) / max(min(one.size, other.size), 1e-9)
    return overlap(one, other) >= LEAST_OVERLAP or (_distance(one, other) <= MOST_DISTANCE and ratio <= 2)
