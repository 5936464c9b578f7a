"""Lower quantiles are lowered until clear gains are seldom harm, and seldom seen in clean pictures."""

from __future__ import annotations

import numpy as np
import torch

from iqa.expected_gain import CLEAR_DB
from training.fits.expected_gain import HARM_DB, PLANNED_CLEAN, PLANNED_HARM, Floats, Gains, shifts_of

COUNT = 4000


def data(gains: Floats, origins: list[str]) -> Gains:
    rows = len(gains)
    return Gains(
        torch.zeros(rows, 1),
        gains[:, None],
        ("expert",),
        ("denoising",),
        np.zeros(rows, np.int64),
        np.zeros(rows, bool),
        np.array(origins),
        np.full(rows, 30.0),
    )


def predicted(low: Floats) -> Floats:
    return np.stack([low, low], 1)[:, None]


def test_predictions_that_never_harm_are_left_as_they_are() -> None:
    gain = np.random.default_rng(1).uniform(0, 3, COUNT)
    assert shifts_of(data(gain, ["camera"] * COUNT), predicted(gain)) == [0.0]


def test_what_would_harm_too_often_is_no_longer_clear() -> None:
    rng = np.random.default_rng(2)
    low = rng.uniform(-1, 3, COUNT)
    gain = low + rng.normal(0, 0.6, COUNT)
    (shift,) = shifts_of(data(gain, ["camera"] * COUNT), predicted(low))
    harm = gain < HARM_DB
    assert harm[low > CLEAR_DB].mean() > PLANNED_HARM
    assert 0 < harm[low - shift > CLEAR_DB].mean() <= PLANNED_HARM


def test_clean_pictures_are_left() -> None:
    rng = np.random.default_rng(3)
    low = rng.normal(0, 0.3, COUNT)
    gain = np.zeros(COUNT)
    (shift,) = shifts_of(data(gain, ["clean"] * COUNT), predicted(low))
    assert (low - shift > CLEAR_DB).mean() <= PLANNED_CLEAN + 1 / COUNT


def test_pictures_with_wrong_tones_say_nothing_of_harm() -> None:
    low, gain = np.full(COUNT, 1.0), np.full(COUNT, -1.0)
    dark = data(gain, ["mixture"] * COUNT)
    dark.before_db[:] = 10.0
    assert shifts_of(dark, predicted(low)) == [0.0]
