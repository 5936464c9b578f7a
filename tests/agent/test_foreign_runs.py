"""Run folders that were edited, damaged, made by another version, or filled with links to elsewhere."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from agent.errors import RunError
from agent.events import Event, StepFinished
from agent.report.page import report_page
from agent.run import resume_run
from agent.run_folder import RunFolder
from imaging.convert import from_numpy
from imaging.errors import Cancelled, RestoreError
from imaging.image import Image
from imaging.pixels import empty
from imaging.progress import ProgressToken
from imaging.writing import write_image
from tests.agent.scripted import NOISY, PLAIN_2X, ScriptedPool, expert, profile, run, truth
from toolbox.tasks import Task

EXPERTS = (expert("ideal", Task.DENOISING, truth), PLAIN_2X)
LARGE = 10**400


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was cancelled after its first step."""
    photo, token = tmp_path_factory.mktemp("photos") / "noisy.png", ProgressToken()
    write_image(Image(from_numpy(NOISY)), photo)

    def stop(event: Event) -> None:
        if isinstance(event, StepFinished):
            token.cancel()

    with pytest.raises(Cancelled):
        run(photo, profile(), ScriptedPool(*EXPERTS), name="stopped", token=token, listener=stop)
    return photo.parent / "runs" / "stopped"


@pytest.fixture
def half(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(stopped, tmp_path / "runs" / "half")


def put(value: object, *path: str | int) -> Callable[[Any], None]:
    def edit(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return edit


def many_nodes(state: Any) -> None:
    last, first = state["nodes"][-1], len(state["nodes"])
    state["nodes"] += [{**last, "id": number, "parent": number - 1} for number in range(first, 20_000)]


def many_steps(state: Any) -> None:
    state["nodes"][-1]["remaining_steps"] *= 10_000


def wide_findings(state: Any) -> None:
    for finding in state["perception"]["findings"].values():
        finding["where"] = [1.0] * 100_000


EDITS: dict[str, Callable[[Any], None]] = {
    "its own parent": put(0, "nodes", 0, "parent"),
    "parents in a circle": put(1, "nodes", 0, "parent"),
    "a parent that is nowhere": put(77, "nodes", 1, "parent"),
    "a negative parent": put(-5, "nodes", 1, "parent"),
    "two roots": put(None, "nodes", 1, "parent"),
    "a number twice": put(0, "nodes", 1, "id"),
    "a number that is too large": put(5, "nodes", 1, "id"),
    "a negative number": put(-1, "nodes", 1, "id"),
    "no current node": put(99, "current"),
    "a negative current node": put(-1, "current"),
    "no node at all": put([], "nodes"),
    "a restart from nowhere": put(99, "restart_node"),
    "a restart from before": put(-99, "restart_node"),
    "no width": put(0, "nodes", 0, "width"),
    "a negative height": put(-3, "nodes", 0, "height"),
    "a width of 400 digits": put(LARGE, "nodes", 0, "width"),
    "a result without width": put(0, "plan", "final_width"),
    "a result of negative width": put(-9, "plan", "final_width"),
    "a result of 400 digits": put(LARGE, "plan", "final_width"),
    "a size of zero": put([0, 0], "final_size"),
    "endless seconds": put(float("inf"), "seconds", "experts"),
    "seconds that are no number": put(float("nan"), "seconds", "experts"),
    "endless seconds of a candidate": put(float("inf"), "nodes", 1, "verdicts", 0, "seconds"),
    "seconds of a candidate that are no number": put(float("nan"), "nodes", 1, "verdicts", 0, "seconds"),
    "a strength above one": put(99.0, "strength"),
    "an output with a NUL": put("a\0b.png", "output"),
    "an output of 5000 characters": put(f"/{'y' * 5000}.png", "output"),
    "an output in 5000 folders": put(f"/{'y/' * 5000}z.png", "output"),
    "20,000 nodes": many_nodes,
    "20,000 steps": many_steps,
    "maps of 100,000 cells": wide_findings,
    "a version of the future": put(2, "version"),
    "a field of the future": put({}, "mood"),
}


def shown_and_resumed(folder: Path) -> None:
    report_page(RunFolder(folder).load_state(), folder)
    resume_run(folder, experts=ScriptedPool(*EXPERTS))


@pytest.mark.parametrize("kind", EDITS)
def test_an_edited_state_is_refused(half: Path, kind: str) -> None:
    state = json.loads((half / "state.json").read_text())
    EDITS[kind](state)
    (half / "state.json").write_text(json.dumps(state))
    with pytest.raises(RestoreError):
        shown_and_resumed(half)


def archive(stored: bytes | None = None, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(array), allow_pickle=True)
            written.writestr(f"{name}.npy", entry.getvalue() if stored is None else stored)
    return stream.getvalue()


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<u2", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def with_pixels(image: bytes, pixels: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    """The stored image with other bytes for its pixels."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(image)) as before, zipfile.ZipFile(stream, "w", kind) as after:
        for name in before.namelist():
            after.writestr(name, pixels if name == "pixels.npy" else before.read(name))
    return stream.getvalue()


def claiming_size(image: bytes) -> bytes:
    """The stored image whose directory says that the pixels are larger."""
    with zipfile.ZipFile(io.BytesIO(image)) as read:
        size = struct.pack("<I", read.getinfo("pixels.npy").file_size)
    return image.replace(size, struct.pack("<I", 1 << 31))


IMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda image: b"",
    "cut": lambda image: image[: len(image) // 2],
    "no archive": lambda image: b"\x93NUMPY" + bytes(1000),
    "another archive": lambda image: archive(x=1),
    "objects": lambda image: archive(kind=[{}], icc=[], metadata=[]),
    "text for numbers": lambda image: archive(b"hello", icc=0, metadata=0, kind=0),
    "more pixels than bytes": lambda image: with_pixels(image, header((3, 1 << 20, 1 << 20))),
    "fewer pixels than bytes": lambda image: with_pixels(image, header((3, 2, 2)) + bytes(1 << 10)),
    "two dimensions": lambda image: with_pixels(image, header((3, 4)) + bytes(24)),
    "no rows": lambda image: with_pixels(image, header((3, 0, 4))),
    "one channel": lambda image: with_pixels(image, header((1, 4, 4)) + bytes(32)),
    "negative": lambda image: with_pixels(image, header((3, -4, -4)) + bytes(96)),
    "a bomb": lambda image: with_pixels(image, header((3, 1 << 11, 1 << 11)) + bytes(3 << 23), zipfile.ZIP_DEFLATED),
    "another compression": lambda image: with_pixels(image, header((3, 4, 4)) + bytes(96), zipfile.ZIP_LZMA),
    "a larger size in the directory": claiming_size,
}  # fmt: skip


@pytest.mark.parametrize("kind", IMAGES)
def test_a_foreign_image_of_a_run_is_refused(half: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = list[int]()
    monkeypatch.setattr("agent.run_folder.empty", lambda shape: reserved.append(int(np.prod(shape))) or empty(shape))
    file = half / "nodes" / "1.npz"
    file.write_bytes(IMAGES[kind](file.read_bytes()))
    with pytest.raises(RunError, match=r"image 1\.npz of run .* is missing or damaged"):
        resume_run(half, experts=ScriptedPool(*EXPERTS))
    assert max(reserved, default=0) < 1 << 20, "memory for pixels that the file does not have"


def test_a_state_larger_than_any_run_is_refused(half: Path) -> None:
    with (half / "state.json").open("ab") as stream:
        stream.write(b" " * (64 << 20))
    with pytest.raises(RunError, match="too large"):
        resume_run(half)


LINKED = ("state.json", "trace.jsonl", "lock", "nodes", "nodes/0.npz", "nodes/1.npz", "thumbnails")


@pytest.mark.parametrize("name", LINKED)
def test_links_in_a_run_folder_are_neither_read_nor_written_nor_deleted_through(half: Path, name: str) -> None:
    outside = half.parent.parent / "outside" / Path(name).name
    outside.parent.mkdir()
    (half / name).rename(outside)
    (half / name).symlink_to(outside, target_is_directory=outside.is_dir())
    before = contents(outside.parent)
    with pytest.raises(RunError):
        resume_run(half, experts=ScriptedPool(*EXPERTS))
    assert contents(outside.parent) == before
    assert (half / name).is_symlink()


@pytest.mark.parametrize("name", ["before.jpg", "thumbnails/0.jpg", "thumbnails"])
@pytest.mark.parametrize("target", ["a picture", "a pipe"])
def test_a_report_shows_no_picture_through_a_link(half: Path, name: str, target: str) -> None:
    outside = half.parent.parent / "outside"
    outside.mkdir()
    if target == "a pipe":
        os.mkfifo(outside / "0.jpg")
    else:
        PIL.Image.new("RGB", (8, 8), "red").save(outside / "0.jpg")
    place = half / name
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(outside / "0.jpg" if name.endswith("jpg") else outside)
    shown = report_page(RunFolder(half).load_state(), half)
    place.unlink()
    assert shown == report_page(RunFolder(half).load_state(), half)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(file): file.read_bytes() if file.is_file() else None for file in sorted(folder.rglob("*"))}
