"""Measure a file of weights, run as an expert.

    python -m training.networks.evaluate sr_x4.safetensors --pairs BENCH/set5 BENCH/set14
    python -m training.networks.evaluate all_in_one.safetensors --data DATA/train --degrade all

--pairs: folders with hr/ and lr_x<scale>/; PSNR of Y in dB without `scale` border pixels, as in papers.
--data: photos; PSNR of RGB on the held-out ones of `training.data.loading.split`, before and after, by degradation.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from iqa.metrics.psnr import psnr_y
from toolbox.card import SpandrelCard
from toolbox.network import NetworkExpert, load_network
from toolbox.store import ModelStore
from toolbox.tasks import Task
from training.data.loading import load_photo, photo_files, split
from training.data.measure import Gain, Row, gains, held_out_rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--degrade", default="all", help="as in recipes")
    arguments = parser.parse_args()
    expert = expert_of(arguments.weights)
    for folder in arguments.pairs:
        print(f"{folder.name}: {super_resolution_db(expert, folder):.2f} dB")
    if arguments.data:
        held_out = [load_photo(file) for file in split(photo_files(arguments.data))[1]]
        rows = held_out_rows(held_out, arguments.degrade, expert.card.scale)
        for kind, gain in gains_of(expert, rows).items():
            print(f"{kind}: {gain.input_db:.2f} -> {gain.output_db:.2f} dB")
    print(f"speed: {megapixels_per_second(expert):.2f} megapixels of input per second")


def expert_of(file: Path) -> NetworkExpert:
    """The network in a file of weights as an expert, of any scale."""
    from spandrel import ModelLoader

    scale = ModelLoader().load_from_file(file).scale
    task = Task.DENOISING if scale == 1 else Task.SUPER_RESOLUTION
    card = SpandrelCard.model_validate(
        {
            "name": "measured",
            "task": task,
            "scale": scale,
            "loader": "spandrel",
            "file": {"name": file.name},
            "halo": 64,
        }
        | {"about": "", "source": ""}
    )
    return load_network(card, ModelStore(file.parent))


def super_resolution_db(expert: NetworkExpert, folder: Path) -> float:
    """Mean PSNR of Y over the images in `folder`/hr, restored from those of the same name in `folder`/lr_x<scale>."""
    scale = expert.card.scale
    values = []
    for file in sorted((folder / "hr").iterdir()):
        reference = read_image(file)
        result = expert(read_image(folder / f"lr_x{scale}" / file.name), ProgressToken())
        height, width = (min(a, b) for a, b in zip(result.pixels.shape[1:], reference.pixels.shape[1:], strict=True))
        values.append(psnr_y(_cut(result, height, width), _cut(reference, height, width), crop=scale))
    return float(np.mean(values))


def gains_of(expert: NetworkExpert, rows: dict[str, list[Row]]) -> dict[str, Gain]:
    """PSNR of an expert on held-out patches, by degradation (see `training.data.measure`)."""

    def run(inputs: Tensor) -> Tensor:
        return torch.stack([expert(Image(pixels.contiguous()), ProgressToken()).pixels for pixels in inputs])

    return gains(run, rows, expert.card.scale)


def megapixels_per_second(expert: NetworkExpert, side: int = 256) -> float:
    """Input megapixels per second, the best of two runs after one for warm-up."""
    image = Image(torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        expert(image, ProgressToken())
        seconds.append(time.perf_counter() - began)
    return side * side / 1e6 / min(seconds[1:])


def _cut(image: Image, height: int, width: int) -> Image:
    return image.with_pixels(image.pixels[:, :height, :width].contiguous())


if __name__ == "__main__":
    main()
