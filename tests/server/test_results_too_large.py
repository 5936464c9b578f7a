"""A result that the chosen format cannot hold is refused before any work, through every door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import TextContent
from typer.testing import CliRunner

from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.worker import Worker
from agent.events import Event
from agent.run import restore_file
from imaging.errors import Cancelled
from imaging.output import FORMAT_OF, check_output
from imaging.progress import ProgressToken
from profiles.loading import load_profile
from server.cli.app import app
from server.errors import RequestError
from toolbox.expert import Expert

SCALE = 16
WIDTHS = {".webp": 1024, ".avif": 2049, ".jpg": 4094}
"""Widths that no longer fit when enlarged by `SCALE`."""
ADVICE = "choose PNG, TIFF or JPEG XL, or a smaller size"


@pytest.fixture(autouse=True)
def _no_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A test fails as soon as an expert runs."""
    ran: list[str] = []

    def stopped(expert: Expert, *_: Any) -> Any:
        ran.append(expert.card.name)
        raise RequestError("an expert ran")

    monkeypatch.setattr("agent.qmoe.run_expert", stopped)
    monkeypatch.setenv("RESTORE4K_RUNS", str(tmp_path / "runs"))
    yield
    assert not ran


def strip(folder: Path, width: int, suffix: str = ".png") -> Path:
    """A low, wide picture."""
    folder.mkdir(exist_ok=True)
    file = folder / f"wide{suffix}"
    values = np.random.default_rng(0).integers(0, 256, (8, width, 3), dtype=np.uint8)
    PIL.Image.fromarray(values).save(file)
    return file


@pytest.mark.parametrize("suffix", WIDTHS)
def test_the_command_refuses_it_and_starts_no_run(tmp_path: Path, suffix: str) -> None:
    output = tmp_path / "results" / f"out{suffix}"
    photo = strip(tmp_path / "photos", WIDTHS[suffix])
    refused = CliRunner().invoke(app, ["restore", str(photo), "--scale", str(SCALE), "-o", str(output), "--json"])
    assert refused.exit_code == 2
    error = json.loads(refused.stdout)["error"]
    assert f"{WIDTHS[suffix] * SCALE}x128 pixels does not fit in a {suffix} file" in error["message"]
    assert ADVICE in error["hint"]
    assert not output.parent.exists()
    assert not (tmp_path / "runs").exists()


def test_the_command_refuses_a_long_side_beyond_the_format(tmp_path: Path) -> None:
    photo = strip(tmp_path / "photos", 1024)
    refused = CliRunner().invoke(app, ["restore", str(photo), "--long-side", "16384", "-o", str(tmp_path / "a.webp")])
    assert refused.exit_code == 2
    assert "16384x128 pixels does not fit" in " ".join(refused.stderr.split())


@pytest.mark.parametrize("same", [False, True], ids=["one format", "same format"])
def test_a_batch_records_it_as_a_failure_of_that_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    monkeypatch.setattr("agent.batch.engines.local.LocalEngine", lambda config, **_: InProcessEngine(Worker(config)))
    folder = strip(tmp_path / "photos", 1024, ".webp" if same else ".png").parent
    chosen = ["--format", "same" if same else "webp", "--scale", str(SCALE)]
    ended = CliRunner().invoke(app, ["batch", str(folder), str(tmp_path / "out"), *chosen, "--json"])
    assert ended.exit_code == 1
    (failure,) = json.loads(ended.stdout)["failures"]
    assert "16384x128 pixels does not fit in a .webp file" in failure["reason"]
    assert ADVICE in failure["reason"]


def test_a_run_is_not_resumed_to_a_format_that_cannot_hold_its_result(tmp_path: Path) -> None:
    photo, token = strip(tmp_path / "photos", 1024), ProgressToken()
    wanted, runs = load_profile("default").model_copy(update={"scale_factor": SCALE}), tmp_path / "runs"

    def stop(_: Event) -> None:
        token.cancel()

    with pytest.raises(Cancelled):
        restore_file(photo, tmp_path / "a.png", wanted, runs=runs, name="a", token=token, listener=stop)
    refused = CliRunner().invoke(app, ["resume", "a", "--output", str(tmp_path / "a.webp"), "--json"])
    assert refused.exit_code == 2
    assert "16384x128 pixels does not fit in a .webp file" in json.loads(refused.stdout)["error"]["message"]
    assert not (tmp_path / "a.webp").exists()


CALLS: dict[str, tuple[str, dict[str, object], int]] = {
    "whole restoration": ("restore_to_4k", {"size": "16x"}, 1024),
    "exact size": ("restore_to_4k", {"size": 16384}, 1024),
    "one step": ("super_resolve", {"scale": 4}, 4096),
    "step of another scale": ("super_resolve", {"scale": 3}, 5462),
    "step that keeps the size": ("denoise", {}, 16384),
    "finish": ("finish_restoration", {"width": 16384}, 1024),
}


@pytest.mark.anyio
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("output", ["webp", "folder/name.webp"])
async def test_a_tool_refuses_it_and_says_what_to_do(
    server: MCPServer[Any], photos: Any, tmp_path: Path, call: str, output: str
) -> None:
    name, arguments, width = CALLS[call]
    photo = strip(photos.folder, width)
    async with Client(server) as client:
        refused = await client.call_tool(name, {"image": str(photo), "output": output, **arguments})
    assert refused.is_error
    assert isinstance(refused.content[0], TextContent)
    assert "does not fit in a .webp file" in refused.content[0].text
    assert ADVICE in refused.content[0].text
    assert not list(tmp_path.glob("output/**/*.webp"))
    assert not list(tmp_path.glob("runs/*"))


def test_formats_without_such_a_limit_are_not_refused(tmp_path: Path) -> None:
    for suffix in FORMAT_OF:
        check_output(tmp_path / f"out{suffix}", overwrite=False, size=(16_383, 16_383))
        if suffix not in (*WIDTHS, ".jpeg"):
            check_output(tmp_path / f"out{suffix}", overwrite=False, size=(100_000, 8))
