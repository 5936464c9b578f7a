"""Several small networks as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from toolbox.classical.perceptron import load_perceptron
from training.fits.perceptron import joined, save


def perceptron(hidden: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(5, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3)]
    return nn.Sequential(*layers)


def test_joined_networks_answer_side_by_side_what_each_answers_alone(tmp_path: Path) -> None:
    networks = [perceptron(hidden, seed) for seed, hidden in enumerate((4, 7))]
    together = joined(networks)
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(2))
    expected = torch.cat([network(features) for network in networks], dim=1)
    assert torch.allclose(together(features), expected, atol=1e-6)
    save(together, tmp_path / "joined.safetensors")
    stored = load_perceptron(tmp_path / "joined.safetensors")(features.numpy())
    assert np.allclose(stored, expected.detach().numpy(), atol=1e-2)
