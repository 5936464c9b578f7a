"""What kind of picture it is: a photo, a document, a drawing, a screenshot, seen from above, or from a microscope."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from iqa.degradations import network_output
from iqa.errors import BadParameters
from iqa.features import ImageFeatures

if TYPE_CHECKING:
    from torch import Tensor

FILE = "content.safetensors"


class ContentKind(StrEnum):
    """What a picture shows, as far as it matters for its restoration."""

    PHOTO = "photo"
    DOCUMENT = "document"
    DRAWING = "drawing"
    SCREENSHOT = "screenshot"
    AERIAL = "aerial"
    MEDICAL = "medical"


@dataclass(frozen=True, slots=True)
class Content:
    """The kind of a picture, and how sure that is."""

    kind: ContentKind
    confidence: float
    """In [0, 1]: what the classifier gives it beside the other kinds."""


def content_of(features: ImageFeatures) -> Content:
    """The kind of a picture that has been looked at: a linear classifier over what the estimator's network sees.

    Fitted by `python -m training.fits.content`.
    """
    import torch

    weight, bias = _parameters()
    with torch.inference_mode():
        chances = torch.softmax(weight @ network_output(features).description + bias, 0)
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
