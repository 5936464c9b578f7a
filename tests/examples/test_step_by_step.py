"""The step tools are complete: an outside agent gets the same bytes as `restore_to_4k`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from mcp import Client, StdioServerParameters
from skimage import data

from imaging.image import Image
from imaging.progress import ProgressToken
from server.mcp.app import build_server
from server.settings import ServerSettings
from toolbox.errors import ExpertError
from toolbox.expert import Expert, run_expert
from toolbox.tasks import Task

pytestmark = pytest.mark.anyio
REPOSITORY = Path(__file__).parents[2]
EXAMPLE = runpy.run_path(str(REPOSITORY / "examples" / "step_by_step.py"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def noisy() -> PIL.Image.Image:
    clean = np.asarray(data.astronaut())[:80, 180:276]
    noise = np.random.default_rng(7).normal(0, 25, clean.shape)
    return PIL.Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8))


def save(kind: str, folder: Path) -> Path:
    """A photo that takes another way through the loop each."""
    photo, file = noisy(), folder / f"{kind}.png"
    if kind == "compressed, with EXIF":
        file, exif = folder / "photo.jpg", PIL.Image.Exif()
        exif[0x010E] = "a photo"
        photo.save(file, quality=25, exif=exif)
    elif kind == "grey":
        photo.convert("L").save(file)
    elif kind == "dark and clean":
        dark = np.asarray(data.astronaut())[:80, 180:276] // 5
        PIL.Image.fromarray(dark.astype(np.uint8)).save(file)
    else:
        photo.save(file)
    return file


@pytest.fixture
def server(tmp_path: Path) -> StdioServerParameters:
    folders = [str(tmp_path), "--output", str(tmp_path / "output"), "--runs", str(tmp_path / "runs")]
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "server", "serve", *folders],
        cwd=str(REPOSITORY),
        env={"XDG_STATE_HOME": str(tmp_path / "state"), "OMP_NUM_THREADS": "2", "PYTHONPATH": str(REPOSITORY)},
    )


async def test_step_tools_reproduce_the_whole_run_over_stdio(server: StdioServerParameters, tmp_path: Path) -> None:
    size = {"long_side": 192}
    photos = [save(kind, tmp_path) for kind in ("compressed, with EXIF", "grey", "dark and clean")]
    async with Client(server) as client:
        for photo in photos:
            answer = await EXAMPLE["StepByStep"](client, photo, "default", size).restore()
            whole = await client.call_tool("restore_to_4k", {"image": {"path": str(photo)}, **size})
            steps: list[Any] = whole.structured_content["steps"]
            ours, theirs = Path(answer["file"]).read_bytes(), Path(whole.structured_content["file"]).read_bytes()
            assert ours == theirs, (photo.name, steps)


async def test_where_steps_do_not_help_another_order_is_tried_as_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With experts for noise that fail, so that the first step keeps the input."""

    def failing(expert: Expert, image: Image, token: ProgressToken) -> Image:
        if expert.card.task is Task.DENOISING:
            raise ExpertError(f"{expert.card.name} is broken")
        return run_expert(expert, image, token)

    monkeypatch.setattr("agent.qmoe.run_expert", failing)
    photo = save("noisy", tmp_path)
    findings = [{"degradation": name, "severity": "high"} for name in ("rain", "haze", "noise")]
    wishes = {"long_side": 192, "findings": findings}
    settings = ServerSettings((tmp_path,), tmp_path / "output", tmp_path / "workspace", tmp_path / "runs")
    async with Client(build_server(settings)) as client:
        answer = await EXAMPLE["StepByStep"](client, photo, "default", wishes).restore()
        whole = await client.call_tool("restore_to_4k", {"image": {"path": str(photo)}, **wishes})
    assert Path(answer["file"]).read_bytes() == Path(whole.structured_content["file"]).read_bytes()
    run = whole.structured_content["run"]
    assert "rolled_back" in (tmp_path / "runs" / run / "trace.jsonl").read_text()
