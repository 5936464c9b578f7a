"""What every same-size classical expert gains on its own degradation, in dB of RGB PSNR.

python -m benchmarks.classical --data DATA/train/photo
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imaging.control import Control
from imaging.convert import FloatArray, to_float
from toolbox.catalogue import default_catalogue
from toolbox.expert import ClassicalExpert, load_expert
from toolbox.tasks import Severity, Task
from training.degradations import degrade

SEVERITIES = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--task", type=Task, choices=list(Task), default=None)
    arguments = parser.parse_args()
    files = sorted(arguments.data.rglob("*.webp"))
    chosen = np.random.default_rng(0).choice(len(files), min(arguments.photos, len(files)), replace=False)
    photos = [_read(files[index]) for index in chosen]
    print(f"{'expert':28}" + "".join(f"{severity.words:>10}" for severity in SEVERITIES))
    for card in default_catalogue():
        expert = load_expert(card) if card.loader == "classical" and card.scale == 1 else None
        if isinstance(expert, ClassicalExpert) and card.task in (
            arguments.task,
            card.task if not arguments.task else None,
        ):
            gains = [_gain(expert, photos, severity) for severity in SEVERITIES]
            print(f"{card.name:28}" + "".join(f"{gain:10.2f}" for gain in gains), flush=True)


def _gain(expert: ClassicalExpert, photos: list[FloatArray], severity: Severity) -> float:
    gains = []
    for index, photo in enumerate(photos):
        rng = np.random.default_rng(index)
        degraded, _ = degrade(photo, expert.card.task.degradation, rng, severity)
        restored = expert.function(degraded, Control())
        gains.append(_psnr(restored, photo) - _psnr(degraded, photo))
    return float(np.mean(gains))


def _psnr(one: FloatArray, other: FloatArray) -> float:
    return -10 * float(np.log10(np.mean((one - other) ** 2) + 1e-10))


def _read(file: Path) -> FloatArray:
    picture: Any = cv2.imread(str(file))
    return to_float(picture[:, :, ::-1])


if __name__ == "__main__":
    main()
