"""What kind of picture it is: photos, and pages and screens that no camera saw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from imaging.convert import FloatArray
from imaging.image import Image
from iqa.content import ContentKind, content_of
from iqa.features import extract_features

Picture = Callable[[FloatArray], Image]


def page(seed: int) -> FloatArray:
    """A scanned page: dark words in lines on paper."""
    import cv2

    rng = np.random.default_rng(seed)
    paper = np.full((900, 640, 3), 242, np.uint8)
    for top in range(60, 860, 24):
        words = " ".join("".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(9))
        cv2.putText(paper, words, (40, top), cv2.FONT_HERSHEY_COMPLEX_SMALL, 0.7, (25, 25, 30), 1, cv2.LINE_AA)
    return paper.astype(np.float32) / 255 + rng.normal(0, 0.01, paper.shape).astype(np.float32)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_a_photo_is_a_photo(name: str, photos: dict[str, FloatArray], picture: Picture) -> None:
    assert content_of(extract_features(picture(photos[name]))).kind is ContentKind.PHOTO


def test_written_pages_are_no_photos(picture: Picture) -> None:
    found = [content_of(extract_features(picture(page(seed)))) for seed in range(3)]
    assert {content.kind for content in found} <= {ContentKind.DOCUMENT, ContentKind.SCREENSHOT}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (30, 500)])
def test_every_size_has_a_kind_with_a_confidence(height: int, width: int, picture: Picture) -> None:
    content = content_of(extract_features(picture(np.zeros((height, width, 3), np.float32))))
    assert 1 / len(ContentKind) <= content.confidence <= 1
