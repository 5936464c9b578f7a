"""Features of the tone curve: the ends of the histogram, and brightness and colour by place."""

from __future__ import annotations

import numpy as np

from iqa.handcrafted.inputs import MeasurementInputs

ENDS = {end: f"luma_percentile_{end}_255" for end in (0.1, 1, 99, 99.9)}
WITHIN = 2.5
"""Levels of 255 within which a pixel counts as black or as white."""
THIRDS = {
    "top": (slice(None), 0),
    "middle": (slice(None), 1),
    "bottom": (slice(None), 2),
    "left": (0, slice(None)),
    "right": (2, slice(None)),
    "centre": (1, 1),
}
"""Columns and rows of a 3x3 grid, by name of the region."""


def tones(inputs: MeasurementInputs) -> dict[str, float]:
    """Percentiles of luma and value, shares of black and white, and mean value and colour by region."""
    import cv2

    luma = np.concatenate([patch.ravel() for patch in inputs.lumas])
    value = inputs.thumbnail.max(axis=2)
    grid = cv2.resize(value, (3, 3), interpolation=cv2.INTER_AREA).T
    colours = {"": inputs.thumbnail, "top_": inputs.thumbnail[: -(-len(value) // 3)]}
    return {
        **dict(zip(ENDS.values(), np.percentile(luma, list(ENDS)).tolist(), strict=True)),
        "luma_largest_255": float(luma.max()),
        "black_share": float((luma < WITHIN).mean()),
        "white_share": float((luma > 255 - WITHIN).mean()),
        **{f"value_percentile_{part}": float(np.percentile(value, part)) for part in (1, 10, 75, 95, 100)},
        **{f"value_{name}": float(grid[place].mean()) for name, place in THIRDS.items()},
        **{
            f"{where}{name}": float(part[:, :, index].mean())
            for where, part in colours.items()
            for index, name in enumerate(("red", "green", "blue"))
        },
    }
