"""The mean of the weights of several trainings, often better than each of them (model soups, Wortsman et al. 2022).

    python -m training.networks.model_soup SHIPPED/sr_x4.safetensors RUNS/sr_x4/sr_x4.safetensors \\
        --shares 1 4 --output MEAN/sr_x4

For trainings that went on from the same weights: of others the mean is worth nothing. The new folder is one that
training.networks.export takes; choose shares on held-out photos, which training.networks.export measures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+", help="files, each with its card (.json) beside it")
    parser.add_argument("--shares", type=float, nargs="+", required=True, help="one for each file")
    parser.add_argument("--output", type=Path, required=True, help="folder of a run")
    arguments = parser.parse_args()
    try:
        file = soup(arguments.weights, arguments.shares, arguments.output)
    except ValueError as error:
        parser.error(str(error))
    print(file)


def soup(files: list[Path], shares: list[float], output: Path) -> Path:
    """Write the mean and its card into a folder; gives the file of weights.

    Raises `ValueError` where shares are missing or not positive, or the networks are not the same.
    """
    if len(files) != len(shares) or min(shares) <= 0:
        raise ValueError("give --shares as many positive numbers as files")
    shares = [share / sum(shares) for share in shares]
    networks = [load_file(file) for file in files]
    if len({file.name for file in files}) > 1 or len({_shapes(network) for network in networks}) > 1:
        raise ValueError("these are not trainings of one network")
    mean = {
        key: torch.stack([network[key].double() * share for network, share in zip(networks, shares, strict=True)])
        .sum(0)
        .half()
        for key in networks[0]
    }
    cards = [json.loads(file.with_suffix(".json").read_text("utf-8")) for file in files]
    output.mkdir(parents=True, exist_ok=True)
    card = {
        **{key: cards[-1][key] for key in ("recipe", "steps_done", "training_photos")},
        "mean_of": [{"share": round(share, 3), **_came(card)} for share, card in zip(shares, cards, strict=True)],
    }
    (output / f"{files[0].stem}.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    save_file(mean, output / files[0].name)
    return output / files[0].name


def _shapes(network: dict[str, Any]) -> frozenset[tuple[str, tuple[int, ...]]]:
    return frozenset((key, tuple(value.shape)) for key, value in network.items())


def _came(card: dict[str, Any]) -> dict[str, Any]:
    """How weights came to be, without what they reached."""
    kept = ("patch", "batch", "learning_rate", "charbonnier", "seed", "init")
    recipe = {key: value for key, value in card["recipe"].items() if key in kept}
    history = ("steps_done", "training_photos", "went_on_from", "mean_of")
    return {"recipe": recipe} | {key: card[key] for key in history if key in card}


if __name__ == "__main__":
    main()
