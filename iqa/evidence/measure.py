"""All evidence about one picture in one table."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from iqa.evidence.compression import compression
from iqa.evidence.light import light
from iqa.evidence.noise import noise
from iqa.evidence.regrid import regrid
from iqa.evidence.sharpness import edges
from iqa.evidence.spectrum import spectrum
from iqa.evidence.streaks import streaks
from iqa.evidence.tones import tones
from iqa.evidence.view import View

SOURCES: tuple[Callable[[View], dict[str, float]], ...] = (
    compression,
    edges,
    light,
    noise,
    spectrum,
    streaks,
    tones,
    regrid,
)


def measure_evidence(view: View, *more: Callable[[View], dict[str, float]]) -> dict[str, float]:
    """Every measured number by its name, which ends in its unit; about 0.1 s whatever the size.

    `more`: further sources. They measure side by side, on as many threads as torch may use.
    """
    import torch

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        found = list(threads.map(lambda source: source(view), (*SOURCES, *more)))
    evidence = {"long_side_px": float(max(view.width, view.height))}
    return {name: value for part in (evidence, *found) for name, value in part.items()}
