"""Loads and runs every published architecture that the loader knows, small and with random weights.

`python -m benchmarks.architectures` prints a table. Seconds are those of small networks, not of the published
ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import skimage.data
import torch

from benchmarks.random_networks import FACE_NETWORKS, NETWORKS, RandomNetwork
from benchmarks.report import reported
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.card import SpandrelCard
from toolbox.expert import run_expert
from toolbox.network import load_network
from toolbox.store import ModelStore

TILE, HALO = 96, 16


def card_of(network: RandomNetwork, file: Path, **changes: object) -> SpandrelCard:
    """A card for the file of a random network."""
    task = "denoising" if network.scale == 1 else "super_resolution"
    return SpandrelCard.model_validate(
        {
            "name": "random",
            "task": task,
            "scale": network.scale,
            "loader": "spandrel",
            "file": {"name": file.name},
            "architecture": network.architecture,
            "about": "A random network.",
            "source": "none",
        }
        | changes
    )


def photo(side: int) -> Image:
    """A square piece of a photo."""
    return Image(from_numpy(to_float(skimage.data.astronaut()[:side, -side:])))


def run_network(network: RandomNetwork, file: Path, image: Image, **card: object) -> tuple[Image, float]:
    """The result of the network in that file, and the seconds that it took without loading."""
    expert = load_network(card_of(network, file, **card), ModelStore(file.parent))
    started = time.perf_counter()
    result = run_expert(expert, image, ProgressToken())
    return result, time.perf_counter() - started


def row(network: RandomNetwork, folder: Path, side: int, tiled_side: int) -> str:
    """One line of the table."""
    file = network.write(folder)
    face = network in FACE_NETWORKS
    whole = {"value_range": "symmetric", "tile": 512, "halo": 0} if face else {}
    exact, seconds = run_network(network, file, photo(side), **whole)
    half, _ = run_network(network, file, photo(side), dtype="bfloat16", **whole)
    apart = (half.pixels - exact.pixels).abs()
    tiled = "–" if face else f"{run_network(network, file, photo(tiled_side), tile=TILE, halo=HALO)[1]:.1f}"
    form = "plain" if network.suffix == ".safetensors" else network.form
    return (
        f"| {network.title} | {network.suffix} {form} | {network.scale}x | {side} | {seconds:.2f} | {tiled} "
        f"| {float(apart.mean()):.4f}, {float(apart.max()):.3f} |"
    )


@reported("architectures", "Published architectures with random weights")
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512, help="of the picture that is run in tiles, at most 512")
    parser.add_argument("--only", nargs="*", default=[], help="titles of networks")
    arguments = parser.parse_args()
    print("| architecture | file | scale | side | whole, s | 512 in tiles, s | bfloat16: mean, largest deviation |")
    print("|---|---|---|---|---|---|---|")
    for network in (*NETWORKS, *FACE_NETWORKS):
        if not arguments.only or network.title in arguments.only:
            with tempfile.TemporaryDirectory() as folder:
                side = 512 if network in FACE_NETWORKS else 64
                print(row(network, Path(folder), side, arguments.side), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
