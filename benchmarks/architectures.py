"""Every published architecture that the loader knows, small and with random weights: does it load, tile and hold.

`python -m benchmarks.architectures` prints a table. Seconds are of small networks: they say that it runs, not how fast
the published one is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import skimage.data
import torch

from benchmarks.random_networks import NETWORKS, RandomNetwork
from imaging.control import Control
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from toolbox.card import ExpertCard
from toolbox.expert import run_expert
from toolbox.network import load_network
from toolbox.store import ModelStore

TILE, HALO = 96, 16


def card_of(network: RandomNetwork, file: Path, *, tile: int = 384, halo: int = 32, dtype: str = "float32") -> ExpertCard:
    """A card for a file that such a network was written to."""
    task = "denoising" if network.scale == 1 else "super_resolution"
    return ExpertCard.model_validate(
        {
            "name": "random",
            "task": task,
            "scale": network.scale,
            "loader": "spandrel",
            "file": {"name": file.name},
            "architecture": network.architecture,
            "about": "A random network.",
            "source": "none",
            "tile": tile,
            "halo": halo,
            "dtype": dtype,
        }
    )


def photo(side: int) -> Image:
    """A square piece of a photo."""
    return Image(from_numpy(to_float(skimage.data.astronaut()[:side, 80 : 80 + side])))


def run_network(network: RandomNetwork, file: Path, image: Image, **card: object) -> tuple[Image, float]:
    """The result of the network in that file, and the seconds that it took without loading."""
    expert = load_network(card_of(network, file, **card), ModelStore(file.parent))  # type: ignore[arg-type]
    started = time.perf_counter()
    result = run_expert(expert, image, Control())
    return result, time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512, help="of the picture that is run in tiles, at most 512")
    arguments = parser.parse_args()
    print("| architecture | file | scale | 64x64, s | in tiles, s | bfloat16: mean, largest deviation |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            file = network.write(Path(folder))
            small = photo(64)
            exact, seconds = run_network(network, file, small)
            half, _ = run_network(network, file, small, dtype="bfloat16")
            apart = (half.pixels - exact.pixels).abs()
            _, tiled = run_network(network, file, photo(arguments.side), tile=TILE, halo=HALO)
            form = "plain" if network.suffix == ".safetensors" else network.form
            print(
                f"| {network.title} | {network.suffix} {form} | {network.scale}x | {seconds:.2f} | {tiled:.1f} "
                f"| {float(apart.mean()):.4f}, {float(apart.max()):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
