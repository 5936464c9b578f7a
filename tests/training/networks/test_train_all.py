"""Several trainings under one command: their order, their time, and their end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from training.networks.train_all import RECIPES, by_urgency, startable, timetable
from training.recipe import Recipe

REPOSITORY = Path(__file__).parents[3]
TINY = """
about = "For tests."
architecture = "Compact"
network = { num_feat = 8, num_conv = 2, upscale = 2 }
scale = 2
degrade = "bicubic"
patch = 32
batch = 2
learning_rate = 1e-3
warm_up = 2
"""


def called(recipe: Recipe, name: str, init: str | None = None, share: float = 1.0) -> Recipe:
    return recipe.model_copy(update={"name": name, "init": init, "share": share})


def test_base_recipes_come_first_and_time_follows_the_shares(recipe: Recipe) -> None:
    recipes = [called(recipe, "b", "a"), called(recipe, "c", "a", share=2), called(recipe, "a"), called(recipe, "d")]
    assert [one.name for one in by_urgency(recipes)] == ["a", "c", "b", "d"]
    assert timetable(by_urgency(recipes), together=1) == {"a": 0.2, "c": 0.6, "b": 0.8, "d": 1.0}
    assert timetable(by_urgency(recipes), together=8) == pytest.approx({"a": 1 / 3, "c": 1, "b": 2 / 3, "d": 1 / 3})


def test_a_base_recipe_that_is_not_trained_is_not_awaited(recipe: Recipe) -> None:
    assert timetable([called(recipe, "b", "trained before")], together=2) == {"b": 1.0}


def test_a_recipe_that_continues_itself_waits_for_no_other(recipe: Recipe) -> None:
    recipes = by_urgency([called(recipe, "a", "a"), called(recipe, "b", "a")])
    assert timetable(recipes, together=2) == {"a": 0.5, "b": 1.0}


def test_no_more_are_begun_than_there_is_room_for(recipe: Recipe) -> None:
    recipes = [called(recipe, name) for name in "abc"]
    assert [one.name for one in startable(recipes, {"x"}, together=3)] == ["a", "b"]
    assert startable(recipes, {"x", "y"}, together=1) == []


def test_recipes_that_begin_with_each_other_are_named(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match="a, b"):
        timetable(by_urgency([called(recipe, "a", "b"), called(recipe, "b", "a")]), together=2)


@pytest.fixture
def command(photos: Path, tmp_path: Path) -> list[str]:
    """Of two short recipes, one of them after the other, and an endless one."""
    for name, more in (
        ("first", "steps = 30"),
        ("second", 'steps = 30\ninit = "first"'),
        ("endless", "steps = 10000000"),
    ):
        (tmp_path / f"{name}.toml").write_text(TINY + more + "\n")
    where = ["--data", str(photos), "--runs", str(tmp_path / "runs"), "--recipe-folder", str(tmp_path)]
    return [sys.executable, "-m", "training.networks.train_all", *where, "--together", "2"]


def log(runs: Path, name: str) -> list[dict[str, float]]:
    file = runs / name / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def test_parallel_trainings_are_stopped_resumed_and_ended_in_time(command: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    stopped = subprocess.Popen([*command, "--minutes", "10"], cwd=REPOSITORY)
    wait_for(lambda: log(runs, "second") and log(runs, "endless"))
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(60) == 0
    assert [log(runs, name)[-1]["step"] for name in ("first", "second")] == [30, 30]
    assert log(runs, "first")[0]["at"] <= log(runs, "second")[0]["at"]
    saved = log(runs, "endless")[-1]
    assert saved["finished"]
    assert json.loads((runs / "endless" / "endless.json").read_text())["steps_done"] == saved["step"] >= 1000

    resumed = subprocess.run(
        [*command, "--minutes", "0.3"], cwd=REPOSITORY, timeout=120, capture_output=True, text=True, check=True
    )
    assert "endless ended" in resumed.stdout
    assert "first" not in resumed.stdout
    assert log(runs, "endless")[-1]["step"] > saved["step"]
    assert '"finished": true' in (runs / "endless" / "output.txt").read_text()


def test_a_training_that_fails_is_named(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text(TINY + 'steps = 30\ninit = "nowhere"\n')
    failed = subprocess.run(
        [*command, "--minutes", "1", "--recipes", "broken"],
        cwd=REPOSITORY,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert "failed: broken" in failed.stderr
    assert "train nowhere first" in (tmp_path / "runs" / "broken" / "output.txt").read_text()


def test_an_unknown_recipe_is_reported_with_the_existing_ones(command: list[str]) -> None:
    unknown = subprocess.run(
        [*command, "--minutes", "1", "--recipes", "third"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert unknown.returncode == 2
    assert "no recipe third" in unknown.stderr
    assert "endless, first, second" in unknown.stderr


def test_every_beginning_that_our_recipes_name_is_a_recipe() -> None:
    from training.recipe import load_recipe

    names = {file.stem for file in RECIPES.glob("*.toml")}
    assert {load_recipe(file).init for file in RECIPES.glob("*.toml")} - {None} <= names
