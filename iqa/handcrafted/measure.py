"""All handcrafted features of one image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from iqa.handcrafted.compression import compression
from iqa.handcrafted.inputs import MeasurementInputs
from iqa.handcrafted.light import light
from iqa.handcrafted.noise import noise
from iqa.handcrafted.regrid import regrid
from iqa.handcrafted.sharpness import edges
from iqa.handcrafted.spectrum import spectrum
from iqa.handcrafted.streaks import streaks
from iqa.handcrafted.tones import tones

SOURCES: tuple[Callable[[MeasurementInputs], dict[str, float]], ...] = (
    compression,
    edges,
    light,
    noise,
    spectrum,
    streaks,
    tones,
    regrid,
)
RENAMED = {
    "quantisation_of_q50": "quantization_relative_to_q50",
    "veil": "dark_channel_over_airlight",
}
"""Old names of features, which weights and datasets may still use, and their current names."""


def current_names(names: Iterable[str]) -> tuple[str, ...]:
    """The current names of features."""
    return tuple(RENAMED.get(name, name) for name in names)


def measure_handcrafted(
    inputs: MeasurementInputs, *more: Callable[[MeasurementInputs], dict[str, float]]
) -> dict[str, float]:
    """All features by name, which ends in the unit; about 0.1 s at any size.

    `more`: additional functions. All run in parallel, on as many threads as torch uses.
    """
    import cv2  # noqa: F401  before the threads: a package that several threads import at once may fail
    import torch

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        found = list(threads.map(lambda source: source(inputs), (*SOURCES, *more)))
    handcrafted = {"long_side_px": float(max(inputs.width, inputs.height))}
    return {name: value for part in (handcrafted, *found) for name, value in part.items()}
