"""A graph that loops, grows or crashes on certain pictures costs one process, and the next picture is restored."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import torch

from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from tests.hostile_graphs import write_hostile_graph
from toolbox import graph_process
from toolbox.card import OnnxCard
from toolbox.errors import ExpertError
from toolbox.expert import run_expert
from toolbox.graph import GraphExpert, load_graph
from toolbox.store import ModelStore

CARD = OnnxCard.model_validate(
    {"name": "mine", "task": "denoising", "about": "", "source": "", "file": {"name": "mine.onnx"}, "tile": 64}
)
BRIGHT, DARK = (Image(torch.full((3, 80, 80), value)) for value in (0.5, 0.01))
ENDLESS = ["loops", "works for days in one operation"]


def hostile(folder: Path, kind: str) -> GraphExpert:
    write_hostile_graph(folder / "mine.onnx", kind)
    return load_graph(CARD, ModelStore(folder))


def is_as_new(expert: GraphExpert) -> bool:
    return torch.equal(run_expert(expert, BRIGHT, ProgressToken()).pixels, BRIGHT.pixels)


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_tile_without_end_can_be_cancelled(kind: str, tmp_path: Path) -> None:
    expert = hostile(tmp_path, kind)
    assert is_as_new(expert)
    child = expert.process._child
    token = ProgressToken(lambda _: token.cancel())  # it reports as long as the tile is computed
    with pytest.raises(Cancelled):
        run_expert(expert, DARK, token)
    assert child
    assert child.has_ended
    assert is_as_new(expert)


def test_what_a_progress_report_raises_ends_a_tile_too(tmp_path: Path) -> None:
    """As it does when the time of a run is up, and another candidate can be kept."""

    class TimeIsUp(Cancelled):
        pass

    reports = count()

    def report(_: float) -> None:
        if next(reports) > 2:
            raise TimeIsUp

    expert = hostile(tmp_path, "loops")
    with pytest.raises(TimeIsUp):
        run_expert(expert, DARK, ProgressToken(report))


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_tile_without_end_is_given_up(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expert = hostile(tmp_path, kind)
    monkeypatch.setattr(graph_process, "TILE_SECONDS", 0.5)
    with pytest.raises(ExpertError, match=r"mine\.onnx took longer than 0\.5 s"):
        run_expert(expert, DARK, ProgressToken())
    monkeypatch.undo()
    assert is_as_new(expert)


@pytest.mark.parametrize("kind", ["grows", "returns no pixels"])
def test_a_tile_that_cannot_be_had_is_an_error_of_the_expert(kind: str, tmp_path: Path) -> None:
    expert = hostile(tmp_path, kind)
    with pytest.raises(ExpertError, match="expert mine failed on 80x80"):
        run_expert(expert, DARK, ProgressToken())
    assert is_as_new(expert)


def test_a_graph_that_ends_its_process_is_started_again(tmp_path: Path) -> None:
    expert = hostile(tmp_path, "loops")

    def end(_: float) -> None:  # called as long as the tile is computed
        if child := expert.process._child:  # another one if it was killed before the tile
            child._process.kill()

    with pytest.raises(ExpertError, match=r"mine\.onnx ended its process"):
        run_expert(expert, DARK, ProgressToken(end))
    assert is_as_new(expert)
    assert expert.process._child
    expert.process._child._process.kill()  # while nothing is asked of it
    expert.process._child._process.wait()
    assert is_as_new(expert)


def test_an_expert_that_is_dropped_ends_its_process(tmp_path: Path) -> None:
    expert = hostile(tmp_path, "loops")
    process = expert.process._child._process if expert.process._child else None
    del expert
    assert process
    assert process.returncode is not None
