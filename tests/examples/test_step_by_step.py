"""The step tools are complete: an outside agent that follows their recommendations gets `restore_to_4k`'s bytes."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from mcp import Client, StdioServerParameters
from skimage import data

from imaging.decoding.colour import PRIMARIES, adobe_rgb_profile, rgb_profile
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
    elif kind == "grey, in rain":
        rainy = np.asarray(photo.convert("L")).astype(int)
        for left in range(3, 90, 7):
            for row in range(80):
                rainy[row, (left + row // 5) % 96] += 90
        PIL.Image.fromarray(np.clip(rainy, 0, 255).astype(np.uint8)).save(file)
    elif kind == "in Display P3":
        photo.paste((0, 255, 0), (0, 0, 96, 20))  # a green that sRGB does not have
        photo.save(file, icc_profile=rgb_profile(PRIMARIES[12]))
    elif kind == "in Adobe RGB":
        photo.save(file, icc_profile=adobe_rgb_profile())
    elif kind == "dark and clean":
        dark = np.asarray(data.astronaut())[:80, 180:276] // 5
        PIL.Image.fromarray(dark.astype(np.uint8)).save(file)
    else:
        photo.save(file)
    return file


@pytest.fixture
def server(tmp_path: Path) -> StdioServerParameters:
    folders = [str(tmp_path), "--output", str(tmp_path / "output"), "--runs", str(tmp_path / "runs")]
    folders += ["--tools", "all", "--wait-seconds", "600"]
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "server", "serve", *folders],
        cwd=str(REPOSITORY),
        env={"XDG_STATE_HOME": str(tmp_path / "state"), "OMP_NUM_THREADS": "2", "PYTHONPATH": str(REPOSITORY)},
    )


async def test_step_tools_reproduce_the_whole_run_over_stdio(server: StdioServerParameters, tmp_path: Path) -> None:
    wishes = {"size": 192}
    photos = [save(kind, tmp_path) for kind in ("compressed, with EXIF", "grey, in rain", "dark and clean")]
    async with Client(server) as client:
        for photo in photos:
            answer = await EXAMPLE["StepByStep"](client, photo, wishes).restore()
            whole = EXAMPLE["facts_of"](await client.call_tool("restore_to_4k", {"image": str(photo), **wishes}))
            assert Path(answer["file"]).read_bytes() == Path(whole["file"]).read_bytes(), (photo.name, whole)


@pytest.mark.parametrize("space", ["in Display P3", "in Adobe RGB"])
async def test_step_tools_reproduce_the_whole_run_of_a_picture_of_wide_gamut(
    server: StdioServerParameters, tmp_path: Path, space: str
) -> None:
    photo, wishes = save(space, tmp_path), {"size": 192, "findings": "noise high"}
    async with Client(server) as client:
        answer = await EXAMPLE["StepByStep"](client, photo, wishes).restore()
        whole = EXAMPLE["facts_of"](await client.call_tool("restore_to_4k", {"image": str(photo), **wishes}))
    assert len(whole["steps"].split("; ")) > 1
    assert Path(answer["file"]).read_bytes() == Path(whole["file"]).read_bytes()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({Task.DERAINING}, "does not help here; the next steps from here"),
        ({Task.DEHAZING, Task.MOTION_DEBLURRING}, "does not help there; restart from the input"),
    ],
)
async def test_steps_that_fail_are_rolled_back_as_in_the_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: set[Task], message: str
) -> None:
    """With experts that fail: for the first step, or for all steps after it."""

    def failing(expert: Expert, image: Image, token: ProgressToken) -> Image:
        if expert.card.task in broken:
            raise ExpertError(f"{expert.card.name} is broken")
        return run_expert(expert, image, token)

    monkeypatch.setattr("agent.qmoe.run_expert", failing)
    photo = save("noisy", tmp_path)
    findings = [{"degradation": name, "severity": "high"} for name in ("rain", "haze", "motion_blur")]
    wishes = {"size": 96, "findings": findings}
    settings = ServerSettings(
        (tmp_path,), tmp_path / "output", tmp_path / "workspace", tmp_path / "runs", tools="all", wait_seconds=600
    )
    async with Client(build_server(settings)) as client:
        await client.call_tool("derain", {"image": str(photo)})  # before the plan, and no part of it
        agent = EXAMPLE["StepByStep"](client, photo, wishes)
        plan = await agent.plan()
        # a wrong turn, which is undone
        wrong = await client.call_tool("denoise", {"image": str(photo), "expert": "tv_denoise"})
        answer = await agent.follow(plan)
        whole = EXAMPLE["facts_of"](await client.call_tool("restore_to_4k", {"image": str(photo), **wishes}))
    assert Path(answer["file"]).read_bytes() == Path(whole["file"]).read_bytes()
    trace = (tmp_path / "runs" / whole["run"] / "trace.jsonl").read_text()
    assert EXAMPLE["facts_of"](wrong)["next"].startswith("deblur_motion ")
    assert message in trace
    steps_run = trace.count('"event":"step_started"')
    assert len(agent.calls) - 2 == steps_run  # those of the plan and of finishing are none
