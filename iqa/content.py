"""Classification of the content: photo, document, drawing, screenshot, aerial or medical image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from iqa.features import ImageFeatures
from iqa.parameters import read_tensors, reading

if TYPE_CHECKING:
    from torch import Tensor

FILE = "content.safetensors"


class ContentKind(StrEnum):
    """Kinds of content that are restored differently."""

    PHOTO = "photo"
    DOCUMENT = "document"
    DRAWING = "drawing"
    SCREENSHOT = "screenshot"
    AERIAL = "aerial"
    MEDICAL = "medical"


WRITTEN = (ContentKind.DOCUMENT, ContentKind.SCREENSHOT)


@dataclass(frozen=True, slots=True)
class Content:
    """The kind of an image, and its probability."""

    kind: ContentKind
    confidence: float
    """Softmax output of the kind, in [0, 1]; summed over documents and screenshots, which are restored alike."""


def content_of(features: ImageFeatures) -> Content:
    """Classify an image by a linear layer on the features of the estimator's network.

    Fitted by `python -m training.fits.content`.
    """
    import torch

    weight, bias = _parameters()
    with torch.inference_mode():
        chances = torch.softmax(weight @ features.network_output.description + bias, 0)
    kinds = list(ContentKind)
    best = kinds[int(chances.argmax())]
    alike = WRITTEN if best in WRITTEN else (best,)
    return Content(best, float(sum(chances[kinds.index(kind)] for kind in alike)))


@cache
def _parameters() -> tuple[Tensor, Tensor]:
    with reading(FILE):
        stored, _ = read_tensors(FILE)
        return stored["weight"], stored["bias"]
