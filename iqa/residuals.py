"""The residuals of embedded restoration networks on an image, which indicate the gain of restoring it.

A network trained with the mean squared error estimates the mean f(y) of the originals of an image y. The
squared error then falls by E|f(y) - y|^2 (orthogonality principle), which can be measured without a reference. The
networks are imperfect and photographs differ from their training data: `iqa.expected_gain` learns how far the energy
and the form of the residuals f(y) - y can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

from imaging.colour import BT601
from toolbox.card import SpandrelCard
from toolbox.catalogue import default_catalogue
from toolbox.network import NetworkExpert, load_network
from toolbox.store import ModelStore

if TYPE_CHECKING:
    from torch import Tensor

    from toolbox.pool import ModelPool

NETWORKS = ("restore4k_camera_denoise", "restore4k_denoise_unet", "restore4k_lens")
"""Experts of three networks: for the noise of cameras, for noise and compression, for soft lenses."""
EPSILON = 1e-7
"""Added to energies before the logarithm; one level of 8 bits has 1.5e-5."""
CELL = 8
"""Side in pixels of the cells in which residuals are compared with detail; equal to that of JPEG blocks."""


def residuals_of(patches: Tensor, models: ModelPool) -> list[Tensor]:
    """The residual of each of `NETWORKS` on (n, 3, h, w) patches of RGB in [0, 1]."""
    import torch

    different = {patch.numpy().tobytes(): patch for patch in patches}  # a small image has equal patches
    places = {key: place for place, key in enumerate(different)}
    batch, index = torch.stack(list(different.values())), [places[patch.numpy().tobytes()] for patch in patches]
    residuals = []
    for name in NETWORKS:
        network = models.hold(f"iqa/{name}", partial(_load, name))
        with torch.inference_mode():
            added = network.of_batch(batch).float().cpu() - batch
        residuals.append(added[index])
    return residuals


def residual_features(patches: Tensor, residuals: Sequence[Tensor]) -> Tensor:
    """(42,): features of each network's residuals, and the correlation of each pair of networks."""
    import torch

    luma = _luma(patches)
    own = [feature for residual in residuals for feature in _features(luma, residual)]
    pairs = [_correlation(one, other) for one, other in combinations(residuals, 2)]
    return torch.stack([*own, *pairs])


def _features(luma: Tensor, residual: Tensor) -> list[Tensor]:
    """Energy and form of a residual; `luma`: (n, 1, h, w), of the patches."""
    change = _luma(residual)
    energy, detail, cleaned = change.square().mean(), _high_pass(luma), _high_pass(luma + change)
    of_patches = _log(residual.square().mean((1, 2, 3)))
    changes, details = _cells(change.square()), _cells(cleaned.square())
    flat = details <= details.median()
    steps = (change[..., 1:] - change[..., :-1]).square().mean((0, 1, 2))
    return [
        _log(residual.square().mean()),
        of_patches.min(),
        of_patches.median(),
        of_patches.max(),
        _log_ratio((residual - change).square().mean(), energy),  # chroma against luma
        ((change * detail).mean() / (detail.square().mean() + EPSILON)).clamp(-3, 3),  # sharpened (+) or smoothed (-)
        _log_ratio(energy, cleaned.square().mean()),
        (change[..., 1:] * change[..., :-1]).mean() / (energy + EPSILON),  # correlation of horizontal neighbours
        (change[..., 1:, :] * change[..., :-1, :]).mean() / (energy + EPSILON),
        _log(changes[flat].mean()),
        _log(changes[~flat].mean()) if not flat.all() else _log(changes.mean()),
        _correlation(_centred(_log(details)), _centred(_log(changes))),
        _log_ratio(steps[CELL - 1 :: CELL].mean(), steps.mean()),  # across the borders of JPEG blocks
    ]


def _luma(rgb: Tensor) -> Tensor:
    return (rgb * rgb.new_tensor(BT601)[:, None, None]).sum(1, keepdim=True)


def _high_pass(plane: Tensor) -> Tensor:
    from torch.nn import functional

    return plane - functional.avg_pool2d(functional.pad(plane, (1, 1, 1, 1), mode="reflect"), 3, 1)


def _cells(energy: Tensor) -> Tensor:
    """The mean of each cell, in one row."""
    from torch.nn import functional

    return functional.avg_pool2d(energy, CELL).flatten()


def _centred(values: Tensor) -> Tensor:
    return values - values.mean()


def _log(energy: Tensor) -> Tensor:
    return (energy + EPSILON).log10()


def _log_ratio(above: Tensor, below: Tensor) -> Tensor:
    return _log(above) - _log(below)


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    product = (one.square().mean() * other.square().mean()).sqrt()
    return (one * other).mean() / (product + EPSILON)


def _load(name: str) -> NetworkExpert:
    card = default_catalogue().card(name)
    assert isinstance(card, SpandrelCard)  # noqa: S101  # for the type checker
    return load_network(card, ModelStore())
