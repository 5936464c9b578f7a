"""All handcrafted features about one picture in one table."""

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


RENAMED = {"quantisation_of_q50": "quantization_relative_to_q50"}
"""Features by the names that weights and drawn datasets may still have for them."""


def current_names(names: Iterable[str]) -> tuple[str, ...]:
    """The same features by their present names."""
    return tuple(RENAMED.get(name, name) for name in names)


def measure_handcrafted(
    inputs: MeasurementInputs, *more: Callable[[MeasurementInputs], dict[str, float]]
) -> dict[str, float]:
    """Every measured number by its name, which ends in its unit; about 0.1 s whatever the size.

    `more`: further sources. They measure side by side, on as many threads as torch may use.
    """
    import torch

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        found = list(threads.map(lambda source: source(inputs), (*SOURCES, *more)))
    handcrafted = {"long_side_px": float(max(inputs.width, inputs.height))}
    return {name: value for part in (handcrafted, *found) for name, value in part.items()}
