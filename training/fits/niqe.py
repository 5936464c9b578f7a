"""Fit NIQE's Gaussian model of good photos, and write the file that iqa/ ships.

    python -m training.fits.niqe --data DATA [--output iqa/niqe.safetensors]

DATA/photo/ holds the photos; one in five, by name, is held out for evaluation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imaging.colour import luma
from imaging.convert import FloatArray
from iqa.metrics.niqe import BLOCK, Matrix, NiqeModel, block_features, niqe_of
from training.data.photos import held_out, photos, read_pixels

SHARP = 0.75
"""Blocks are used if their sharpness exceeds this fraction of the sharpest block (Mittal 2013, section II-B)."""


def pristine_features(luma: FloatArray) -> Matrix:
    """(n, 36): the features of the sharp, textured blocks of one photo, (H, W) luma in [0, 255]."""
    features, sharpness = block_features(luma)
    sharp = sharpness > SHARP * sharpness.max()
    return np.asarray(features[sharp & np.isfinite(features).all(axis=1)], np.float64)


def fit(lumas: Iterable[FloatArray]) -> NiqeModel:
    """The mean and covariance of the sharp blocks of all photos."""
    features = np.concatenate([pristine_features(luma) for luma in lumas])
    return NiqeModel(features.mean(axis=0), np.cov(features, rowvar=False))


def _luma(path: Path) -> FloatArray:
    return np.asarray(np.rint(255 * luma(read_pixels(path))), np.float32)


def main() -> None:
    """Fit, write, and print NIQE of the held-out photos."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("iqa/niqe.safetensors"))
    arguments = parser.parse_args()
    paths = photos(arguments.data)
    known = [path for path in paths if not held_out(path)]
    model = fit(luma for luma in map(_luma, known) if min(luma.shape) >= 2 * BLOCK)
    save_file({"mean": model.mean, "covariance": model.covariance}, arguments.output)
    scores = [niqe_of([_luma(path)], model) for path in paths if held_out(path)]
    low, middle, high = np.percentile(scores, [5, 50, 95])
    print(f"fitted on {len(known)} photos; {len(scores)} held out score {low:.2f} / {middle:.2f} / {high:.2f}")


if __name__ == "__main__":
    main()
