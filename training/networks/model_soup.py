"""Average the weights of several trainings, which is often better than each (model soups, Wortsman et al. 2022).

    python -m training.networks.model_soup SHIPPED/sr_x4.safetensors RUNS/sr_x4/sr_x4.safetensors \\
        --shares 1 4 --output MEAN/sr_x4

The trainings must have started from the same weights; otherwise the mean is useless. training.networks.export takes
the new folder, and measures it on held-out photos, on which the shares can be chosen.
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
    parser.add_argument("weights", type=Path, nargs="+", help="files of weights, each with its .json")
    parser.add_argument("--shares", type=float, nargs="+", required=True, help="weight of each file")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    try:
        file = soup(arguments.weights, arguments.shares, arguments.output)
    except ValueError as error:
        parser.error(str(error))
    print(file)


def soup(files: list[Path], shares: list[float], output: Path) -> Path:
    """Write the weighted mean and its card to a folder, and return the file of weights.

    Raises `ValueError` if shares are missing or not positive, or the networks differ.
    """
    if len(files) != len(shares) or min(shares) <= 0:
        raise ValueError("--shares needs one positive number for each file")
    shares = [share / sum(shares) for share in shares]
    networks = [load_file(file) for file in files]
    if len({file.name for file in files}) > 1 or len({_shapes(network) for network in networks}) > 1:
        raise ValueError("the files are not trainings of one network")
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
        "mean_of": [{"share": round(share, 3), **_history(card)} for share, card in zip(shares, cards, strict=True)],
    }
    (output / f"{files[0].stem}.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    save_file(mean, output / files[0].name)
    return output / files[0].name


def _shapes(network: dict[str, Any]) -> frozenset[tuple[str, tuple[int, ...]]]:
    return frozenset((key, tuple(value.shape)) for key, value in network.items())


def _history(card: dict[str, Any]) -> dict[str, Any]:
    """The settings of a training without its results."""
    kept = ("patch", "batch", "learning_rate", "charbonnier", "seed", "init")
    recipe = {key: value for key, value in card["recipe"].items() if key in kept}
    fields = ("steps_done", "training_photos", "went_on_from", "mean_of")
    return {"recipe": recipe} | {key: card[key] for key in fields if key in card}


if __name__ == "__main__":
    main()
