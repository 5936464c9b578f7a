"""Classification of the content: photo, document, drawing, screenshot, aerial or medical image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from iqa.errors import BadParameters
from iqa.features import ImageFeatures

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


@dataclass(frozen=True, slots=True)
class Content:
    """The kind of an image, and its probability."""

    kind: ContentKind
    confidence: float
    """The softmax output of the kind, in [0, 1]."""


def content_of(features: ImageFeatures) -> Content:
    """Classify an image by a linear layer on the features of the estimator's network.

    Fitted by `python -m training.fits.content`.
    """
    import torch

    weight, bias = _parameters()
    with torch.inference_mode():
        chances = torch.softmax(weight @ features.network_output.description + bias, 0)
    best = int(chances.argmax())
    return Content(list(ContentKind)[best], float(chances[best]))


@cache
def _parameters() -> tuple[Tensor, Tensor]:
    from safetensors.torch import load_file

    try:
        with resources.as_file(resources.files("iqa") / FILE) as path:
            stored = load_file(path)
        return stored["weight"].float(), stored["bias"].float()
    except (OSError, KeyError, ValueError) as error:
        raise BadParameters(f"iqa/{FILE} is not usable: {error!r}", "install restore4k again") from error
