"""Logistic regression on a few features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize


def logistic(rows: NDArray[np.float64], truth: ArrayLike, towards: ArrayLike) -> NDArray[np.float64]:
    """Weights (k,) of the columns of `rows` (n, k) that predict the logit of `truth` (n,), shrunk `towards` (k,)."""
    so, middle = np.asarray(truth, np.float64), np.asarray(towards, np.float64)

    def cost(weights: NDArray[np.float64]) -> float:
        logits = rows @ weights
        return float(np.mean(np.logaddexp(0, logits) - so * logits) + 1e-3 * np.square(weights - middle).sum())

    return np.asarray(minimize(cost, middle, method="Nelder-Mead").x)
