"""Ship the averaged weights of a run, with measurements, a model card and expert cards.

    python -m training.networks.export training/recipes/sr_x4.toml --run-dir RUNS/sr_x4 \\
        --data DATA/train --pairs BENCH/set5
    python -m training.networks.export training/recipes/students/sr_x4_second.toml --run-dir RUNS/sr_x4_second \\
        --teacher-pairs RUNS/second_x4

Works at any time, also during the training. Writes toolbox/weights/<name>.safetensors and <name>.json (recipe, steps,
number of photos, and measurements of this file), and adds the recipe's [cards] to toolbox/cards/networks.toml, for
the tasks in which the network improves held-out photos. A recipe in a folder `students` is measured on the held-out
pairs of its training: of a teacher, or with --data of photos.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
from safetensors.torch import load_file

from toolbox.catalogue import parse_cards
from toolbox.tasks import Task
from training.data.loading import Bytes, photo_files, split
from training.data.measure import Gain
from training.data.teacher_pairs import load_pairs
from training.networks.architectures import build, plain_state
from training.networks.distill import StudentRecipe, figures_of, load_student_recipe, photo_pairs
from training.networks.evaluate import expert_of, gains_of, megapixels_per_second, super_resolution_db
from training.networks.train import WEIGHTS, rows_of
from training.recipe import Recipe, load_recipe

WORTH_DB = 0.3
"""Smallest gain on held-out photos for which a card is added."""
STUDENTS = "students"
"""Folder of recipes of distilled networks."""
CARDS = WEIGHTS.parent / "cards" / "networks.toml"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--run-dir", type=Path, required=True)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--data", type=Path, help="folder of training photos")
    kind.add_argument("--teacher-pairs", type=Path, help="of a student: the pairs that it was trained on")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="as for training.networks.evaluate")
    arguments = parser.parse_args()
    run_dir: Path = arguments.run_dir
    if arguments.recipe.parent.name == STUDENTS:
        student = load_student_recipe(arguments.recipe)
        held_out = (
            photo_pairs(student, arguments.data, run_dir.parent).held_out
            if arguments.data
            else load_pairs(arguments.teacher_pairs / "held_out")
        )
        figures = export_student(student, run_dir, held_out)
    elif not arguments.data:
        parser.error(f"{arguments.recipe} is not a student's recipe: its weights are measured with --data")
    else:
        figures = export(load_recipe(arguments.recipe), run_dir, arguments.data, arguments.pairs)
    print(json.dumps(figures, indent=2))


def export(
    recipe: Recipe, run_dir: Path, data: Path, pairs: list[Path], weights: Path = WEIGHTS, cards: Path = CARDS
) -> dict[str, Any]:
    """Copy and measure the weights, write both kinds of cards, and return the measurements."""
    file = _copied(recipe, run_dir, weights)
    expert = expert_of(file)
    _, held_out = split(photo_files(data / recipe.photos))
    gains = gains_of(expert, rows_of(recipe, held_out, cache=run_dir.parent))
    figures = {
        "held_out_psnr_rgb": {kind: asdict(gain) for kind, gain in gains.items()},
        "psnr_y": {folder.name: round(super_resolution_db(expert, folder), 2) for folder in pairs},
        "megapixels_per_second": round(megapixels_per_second(expert), 2),
    }
    _write_model_card(file, run_dir, figures)
    put_cards(recipe, cards_worth_adding(recipe, gains), cards)
    return figures


def export_student(
    recipe: StudentRecipe, run_dir: Path, held_out: tuple[Bytes, Bytes], weights: Path = WEIGHTS, cards: Path = CARDS
) -> dict[str, Any]:
    """As `export`, for a student: all its cards are added, and it is measured on held-out pairs of its training."""
    file = _copied(recipe, run_dir, weights)
    network = build(recipe).eval()
    network.load_state_dict(plain_state({name: value.float() for name, value in load_file(file).items()}))
    figures = {
        **figures_of(network, recipe, *held_out),
        "megapixels_per_second": round(megapixels_per_second(expert_of(file)), 2),
    }
    _write_model_card(file, run_dir, figures)
    put_cards(recipe, list(recipe.cards), cards)
    return figures


def _copied(recipe: Recipe, run_dir: Path, weights: Path) -> Path:
    weights.mkdir(exist_ok=True)
    file = weights / f"{recipe.name}.safetensors"
    shutil.copyfile(run_dir / file.name, file)
    return file


def _write_model_card(file: Path, run_dir: Path, figures: dict[str, Any]) -> None:
    history = json.loads((run_dir / f"{file.stem}.json").read_text("utf-8"))
    file.with_suffix(".json").write_text(json.dumps({**history, **figures}, indent=2) + "\n", "utf-8")


def cards_worth_adding(recipe: Recipe, gains: dict[str, Gain]) -> list[str]:
    """Names of the recipe's cards in whose degradation the network gains `WORTH_DB`."""
    names = []
    for name, card in recipe.cards.items():
        task = Task(card["task"])
        gain = gains[recipe.degrade if task is Task.SUPER_RESOLUTION else task.degradation]
        if gain.output_db - gain.given_db >= WORTH_DB:
            names.append(name)
    return names


def put_cards(recipe: Recipe, names: list[str], file: Path) -> None:
    """Replace the cards in a TOML file that use the recipe's weights by the cards of these names.

    A card that exists keeps `halo`, `tile`, `self_ensemble` and `dtype`.
    """
    weights = f"{recipe.name}.safetensors"
    folder = f"{STUDENTS}/" if isinstance(recipe, StudentRecipe) else ""
    tables = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    before = {name: card for name, card in tables.items() if card["weights"] == weights}
    tables = {name: card for name, card in tables.items() if name not in before}
    for name in names:
        preprocessor = recipe.preprocessor.get(Task(recipe.cards[name]["task"]).degradation)
        kept = {
            key: value
            for key, value in before.get(name, {}).items()
            if key in ("halo", "tile", "self_ensemble", "dtype")
        }
        tables[name] = (
            recipe.cards[name]
            | kept
            | {
                "scale": recipe.scale,
                "loader": "spandrel",
                "weights": weights,
                "architecture": recipe.architecture,
                **({"preprocessor": preprocessor} if preprocessor else {}),
                "source": f"training/recipes/{folder}{recipe.name}.toml",
            }
        )
    toml = "# Written by training.networks.export from the recipes.\n\n" + tomli_w.dumps(dict(sorted(tables.items())))
    parse_cards(toml, str(file))
    file.write_text(toml, "utf-8")


if __name__ == "__main__":
    main()
