"""All evidence about one picture in one table."""

from __future__ import annotations

from iqa.evidence.compression import compression
from iqa.evidence.light import light
from iqa.evidence.noise import noise
from iqa.evidence.sharpness import edges
from iqa.evidence.spectrum import spectrum
from iqa.evidence.streaks import streaks
from iqa.evidence.view import View

SOURCES = (compression, edges, light, noise, spectrum, streaks)


def measure_evidence(view: View) -> dict[str, float]:
    """Every measured number by its name, which ends in its unit; about 0.1 s whatever the size."""
    evidence = {"long_side_px": float(max(view.width, view.height))}
    for source in SOURCES:
        evidence |= source(view)
    return evidence
