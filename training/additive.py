"""Fits the additive models of iqa/: ordinal logistic regression with few terms, by group lasso."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqa.additive import Additive, Term

Matrix = NDArray[np.float64]
LOG_OFFSET = 0.3
STEPS = 600
RIDGE = 1e-4


@dataclass(frozen=True, slots=True)
class Table:
    """Evidence of many pictures, standardised as `Term` does it."""

    names: tuple[str, ...]
    values: Matrix
    """(pictures, evidence), in deviations from the centre, limited to `REACH`."""
    scales: tuple[Term, ...]
    """For each column a term that says how it was standardised; its slope and bend are 0."""

    @property
    def parabolas(self) -> Matrix:
        """(pictures, evidence, 2): z and z^2 - 1."""
        return np.stack([self.values, self.values**2 - 1], axis=2)


def tabulate(evidence: Sequence[dict[str, float]], fitted: NDArray[np.bool_]) -> Table:
    """Standardised evidence; centres and spreads come from the rows that are `fitted`."""
    names = tuple(evidence[0])
    raw = np.array([[row[name] for name in names] for row in evidence])
    scales = []
    for column, name in enumerate(names):
        offset = LOG_OFFSET if _is_heavy_tailed(name) else None
        values = raw[fitted, column]
        values = np.log(np.maximum(values, 0) + offset) if offset else values
        scales.append(Term(float(values.mean()), float(values.std()) + 1e-6, 0.0, 0.0, offset))
    standardised = [
        [scale.standardised(float(value)) for scale, value in zip(scales, row, strict=True)] for row in raw
    ]
    return Table(names, np.array(standardised), tuple(scales))


def fit_ordinal(table: Table, levels: NDArray[np.int64], highest: int, sparsity: float) -> Additive:
    """The model whose sum plus `offsets[k]` is the logit of reaching level k + 1, out of 0 to `highest`.

    First with a penalty that drops whole parabolas (group lasso, Yuan and Lin 2006), then once more without it on
    the terms that are left. Proximal gradient with momentum (Beck and Teboulle 2009).
    """
    reached = levels[:, None] > np.arange(highest)
    kept = np.ones(len(table.names), bool)
    weights, _ = _descend(table.parabolas, reached, kept, sparsity)
    kept = np.abs(weights).sum(axis=1) > 1e-6
    weights, offsets = _descend(table.parabolas, reached, kept, 0.0)
    terms = {
        name: Term(scale.centre, scale.spread, float(slope), float(bend), scale.log_offset)
        for name, scale, (slope, bend), keep in zip(table.names, table.scales, weights, kept, strict=True)
        if keep
    }
    return Additive(terms, tuple(float(offset) for offset in offsets))


def sums(model: Additive, table: Table) -> Matrix:
    """(pictures,): the model's sum for every row."""
    total = np.zeros(len(table.values))
    for column, name in enumerate(table.names):
        if name in model.terms:
            z = table.values[:, column]
            total += model.terms[name].slope * z + model.terms[name].bend * (z * z - 1)
    return total


def as_toml(name: str, model: Additive) -> str:
    """The model as the table that `iqa.additive.load_models` reads."""
    lines = [f"[{name}]", f"offsets = [{', '.join(f'{offset:.4f}' for offset in model.offsets)}]", f"[{name}.terms]"]
    for evidence, term in sorted(model.terms.items(), key=lambda item: -abs(item[1].slope)):
        log = f", log_offset = {term.log_offset}" if term.log_offset is not None else ""
        lines.append(
            f"{evidence} = {{ slope = {term.slope:.4f}, bend = {term.bend:.4f}, "
            f"centre = {term.centre:.5g}, spread = {term.spread:.5g}{log} }}"
        )
    return "\n".join(lines) + "\n"


def _is_heavy_tailed(name: str) -> bool:
    return name.endswith(("_255", "_px", "_of_q50"))


def _descend(
    inputs: Matrix, reached: NDArray[np.bool_], kept: NDArray[np.bool_], sparsity: float
) -> tuple[Matrix, Matrix]:
    flat = inputs.reshape(len(inputs), -1)
    rate = 1 / (0.25 * reached.shape[1] / 4 * np.linalg.norm(flat, 2) ** 2 / len(flat) + RIDGE)
    weights = ahead = np.zeros(inputs.shape[1:])
    offsets = np.linspace(-2, -3.5, reached.shape[1])
    momentum = 1.0
    for _ in range(STEPS):
        error = 1 / (1 + np.exp(-(flat @ ahead.ravel())[:, None] - offsets)) - reached
        gradient = (flat.T @ error.mean(axis=1)).reshape(ahead.shape) / len(flat) + RIDGE * ahead
        step = ahead - rate * gradient
        norm = np.linalg.norm(step, axis=1, keepdims=True)
        step = step * np.maximum(0, 1 - rate * sparsity / (norm + 1e-12)) * kept[:, None]
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, weights, momentum = step + (momentum - 1) / faster * (step - weights), step, faster
        offsets = offsets - error.mean(axis=0)
    return weights, offsets
