"""Lower quantiles are lowered until clear gains are seldom harm; later fits are averaged with the one that ships."""

from __future__ import annotations

import numpy as np
import torch

from iqa.expected_gain import CLEAR_DB, GainModel
from training.fits.expected_gain import (
    HARM_DB,
    PLANNED_CLEAN,
    PLANNED_HARM,
    Floats,
    Gains,
    shifts_of,
    with_mean_predictions,
)

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


def random_model(experts: tuple[str, ...], seed: int, hidden: int) -> GainModel:
    """Five inputs, three perceptrons."""
    rng = torch.Generator().manual_seed(seed)
    shapes = ((3, 5, hidden), (3, 1, hidden), (3, hidden, 2 * len(experts)), (3, 1, 2 * len(experts)))
    layers = (torch.randn(shape, generator=rng) for shape in shapes)
    shifts = tuple(float(seed + index) for index in range(len(experts)))
    return GainModel(experts, ("denoising",) * len(experts), shifts, torch.zeros(5), torch.ones(5), *layers)


def test_predictions_for_some_experts_are_averaged_and_the_others_kept() -> None:
    shipped, fitted = random_model(("a", "b", "c"), 1, 8), random_model(("c", "a"), 7, 6)
    both = with_mean_predictions(shipped, fitted)
    inputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert both.experts == ("a", "b", "c")
    assert both.shifts == (8.0, 2.0, 7.0)
    torch.testing.assert_close(both(inputs)[:, 1], shipped(inputs)[:, 1])
    torch.testing.assert_close(both(inputs)[:, [2, 0]], (shipped(inputs)[:, [2, 0]] + fitted(inputs)) / 2)
