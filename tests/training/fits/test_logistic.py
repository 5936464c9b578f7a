"""Logistic regression: what was drawn by known weights gives them back, and little gives what it is drawn towards."""

from __future__ import annotations

import numpy as np

from training.fits.logistic import logistic


def test_known_weights_are_found_again() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=(4000, 2)), np.ones(4000)])
    weights = np.array([1.5, -0.7, 0.4])
    truth = rng.random(4000) < 1 / (1 + np.exp(-rows @ weights))
    np.testing.assert_allclose(logistic(rows, truth, np.zeros(3)), weights, atol=0.15)


def test_without_information_the_prior_weights_are_kept() -> None:
    found = logistic(np.zeros((10, 2)), np.ones(10), [1, 0])
    np.testing.assert_allclose(found, [1, 0], atol=1e-3)
