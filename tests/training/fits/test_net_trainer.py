"""Going on from a network of iqa/degradation_net.py: more handcrafted features, and the perceptron alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from training.fits.degradation_net import Drawn, fit_perceptron, thresholds
from training.fits.net_trainer import fresh, grown_from, save

KINDS, LEVELS = 8, 4


def rows(columns: int, count: int = 12) -> np.ndarray:
    return np.random.default_rng(columns).normal(size=(count, columns)).astype(np.float32)


def test_features_that_a_network_does_not_know_yet_changes_nothing(tmp_path: Path) -> None:
    network = fresh(3, rows(5), KINDS * LEVELS, 0).eval()
    save(network, {"handcrafted": "abcde", "outputs": [], "least": []}, tmp_path / "network.safetensors")
    more = np.hstack([rows(5), rows(2)])
    grown = grown_from(tmp_path / "network.safetensors", more).eval()
    near, whole = torch.rand(12, 9, 3, 96, 96), torch.rand(12, 3, 96, 96)
    with torch.inference_mode():
        before, _ = network(near, whole, torch.from_numpy(rows(5)))
        after, _ = grown(near, whole, torch.from_numpy(more))
    assert torch.allclose(before, after, atol=1e-2)  # in half precision


def test_the_perceptron_alone_learns_from_the_features_and_the_convolutions_stay() -> None:
    rng = np.random.default_rng(0)
    known = rows(6, 64)
    truth = np.repeat((known[:, :1] > 0)[:, None], KINDS, 1).repeat(LEVELS, 2).astype(np.float32)
    looks = rng.integers(0, 256, (64, 10, 3, 96, 96), dtype=np.uint8)
    network = fresh(3, known, KINDS * LEVELS, 0)
    convolutions = {name: value.clone() for name, value in network.near.state_dict().items()}
    trained = fit_perceptron(network, Drawn(looks, known, truth, tuple("abcdef")), steps=300, seed=0)
    assert all(torch.equal(value, convolutions[name]) for name, value in trained.near.state_dict().items())
    with torch.inference_mode():
        answer, _ = trained(torch.rand(64, 9, 3, 96, 96), torch.rand(64, 3, 96, 96), torch.from_numpy(known))
    predicted = answer.reshape(64, KINDS, LEVELS)[:, 0, 0] > 0
    assert (predicted.numpy() == (known[:, 0] > 0)).mean() > 0.8


def test_a_threshold_is_the_middle_of_those_that_are_as_good() -> None:
    truth = np.zeros((200, KINDS, LEVELS), np.float32)
    truth[:100] = 1
    chances = np.where(truth > 0, 0.62, 0.41)
    assert thresholds(chances, truth) == [0.5] * KINDS
