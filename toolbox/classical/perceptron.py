"""Multilayer perceptrons in NumPy, for learned parameters of classical experts; weights in safetensors files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from imaging.convert import FloatArray
from toolbox.errors import WeightsMissing


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Linear layers with ReLU between them."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]
    """Weights (out, in) and biases (out,)."""

    def __call__(self, features: FloatArray) -> FloatArray:
        """(..., in) -> (..., out)."""
        for weights, bias in self.layers[:-1]:
            features = np.maximum(features @ weights.T + bias, 0)
        weights, bias = self.layers[-1]
        result: FloatArray = features @ weights.T + bias
        return result


@cache
def load_perceptron(file: Path) -> Perceptron:
    """The perceptron in an embedded file. Raises `WeightsMissing`."""
    if not file.is_file():
        raise WeightsMissing(f"{file} is missing", "install restore4k again")
    from safetensors.numpy import load_file

    arrays = {name: values.astype(np.float32) for name, values in load_file(file).items()}
    return Perceptron(
        tuple((arrays[f"{index}.weight"], arrays[f"{index}.bias"]) for index in range(len(arrays) // 2))
    )
