"""Replies that misled a model, and arguments that it wrote and that were refused."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import CallToolResult, ImageContent
from numpy.typing import NDArray

from imaging.convert import to_numpy, to_uint8
from imaging.image import Image

pytestmark = pytest.mark.anyio


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    return await client.call_tool(tool, arguments)


def pictures(result: CallToolResult) -> list[NDArray[Any]]:
    shown = [block for block in result.content if isinstance(block, ImageContent)]
    return [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(block.data))).convert("RGB")) for block in shown]


async def test_what_was_found_does_not_contradict_the_steps_that_were_taken(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    wish = {"plan": "denoise", "experts": "tv_denoise", "findings": "none"}
    async with Client(server) as client:
        told = facts(await call(client, "restore_to_4k", image="noisy.jpg", **wish))
    assert told["steps"].startswith("denoising: tv_denoise")
    assert told["found"] == "nothing severe"


async def test_reasons_are_about_steps_that_were_tried(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        told = facts(await call(client, "restore_to_4k", image="noisy.jpg", size=500, max_expert_runs=1))
    assert "super_resolution: the budget was spent" in told["left"]
    assert "super_resolution" not in told.get("reasons", "")


async def test_look_says_which_picture_is_where(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        beside = facts(await call(client, "look", image="noisy.jpg", beside="clean.png"))
        wide = facts(await call(client, "look", image="noisy.jpg", beside="clean.png", region="0,0,1,0.3"))
        less = facts(await call(client, "look", image="noisy.jpg", beside="clean.png", difference=True))
    assert (beside["left"], beside["right"]) == ("noisy.jpg", "clean.png")
    assert (wide["above"], wide["below"]) == ("noisy.jpg", "clean.png")
    assert less["difference"] == "clean.png minus noisy.jpg"


@pytest.mark.parametrize(
    ("given", "strength"), [("50%", "0.5"), ("50 %", "0.5"), ("50 percent", "0.5"), ("0.5", "0.5")]
)
async def test_a_strength_in_percent_is_understood(
    server: MCPServer[Any], photos: Any, facts: Any, given: str, strength: str
) -> None:
    async with Client(server) as client:
        told = facts(await call(client, "denoise", image="noisy.jpg", expert="tv_denoise", strength=given))
    assert told["strength"] == strength


@pytest.mark.parametrize("given", ["half", 50, -1])
async def test_another_strength_is_refused_with_the_form_that_works(
    server: MCPServer[Any], photos: Any, given: object
) -> None:
    async with Client(server) as client:
        refused = await call(client, "denoise", image="noisy.jpg", strength=given)
    assert refused.is_error
    assert "half is 0.5" in refused.content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("plan", ["none", "Nothing"])
async def test_a_plan_of_nothing_takes_no_step(server: MCPServer[Any], photos: Any, facts: Any, plan: str) -> None:
    async with Client(server) as client:
        told = facts(await call(client, "restore_to_4k", image="clean.png", plan=plan))
    assert "since the plan has no step" in told["summary"]


async def test_a_format_beside_a_name_is_its_suffix(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        named = facts(await call(client, "finish_restoration", image="clean.png", output="mine", format="jpeg"))
        refused = await call(client, "finish_restoration", image="clean.png", output="mine.png", format="jpeg")
    assert named["file"].endswith("mine.jpg")
    assert refused.is_error


async def test_the_detail_shows_a_place_that_changed(server: MCPServer[Any], photos: Any) -> None:
    """Also where the changes lie at the ends of a wide page and nothing between them."""
    page = np.full((200, 1500, 3), 255, np.uint8)
    page[10:40, 500:520] = page[10:40, 770:790] = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    PIL.Image.fromarray(page).save(photos.folder / "page.png")
    async with Client(server) as client:
        result = await call(client, "super_resolve", image="page.png", scale=2, expert="lanczos_2x")
    assert pictures(result)[1].std() > 5


@pytest.fixture
def two_faces(photos: Any, photo: Image) -> None:
    face = to_numpy(photo.pixels)[:256, 96:352]
    noisy = np.clip(face + np.random.default_rng(0).normal(0, 0.09, face.shape), 0, 1).astype(np.float32)
    both = to_uint8(np.concatenate([noisy, np.flip(noisy, axis=1)], axis=1))
    PIL.Image.fromarray(both).save(photos.folder / "two.png")


@pytest.mark.usefixtures("two_faces")
async def test_faces_outside_the_region_are_told_as_unchanged(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    async with Client(server) as client:
        told = facts(
            await call(client, "restore_faces", image="two.png", region="face 1", expert="face_clean_sharpen")
        )
        wish = {"plan": "restore_faces", "experts": "face_sharpen", "region": "face 2"}
        whole = facts(await call(client, "restore_to_4k", image="two.png", **wish))
    lines = [told["face 1"], told["face 2"]]
    assert sum("face_clean_sharpen" in line for line in lines) == 1
    assert sum("outside the region, unchanged" in line for line in lines) == 1
    assert whole["region"] == "face 2; unchanged outside it"


@pytest.mark.usefixtures("two_faces")
async def test_look_at_faces_shows_all_of_them(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        shown = facts(await call(client, "look", image="two.png", region="faces"))["shown"]
    left, _, width, _ = map(int, shown.split(" of ")[0].split(","))
    assert left < 256 < left + width


async def test_an_expert_that_ran_on_the_whole_picture_is_told_once(
    server: MCPServer[Any], photos: Any, facts: Any, photo: Image
) -> None:
    large = PIL.Image.fromarray(to_uint8(to_numpy(photo.pixels))).resize((900, 700))
    noisy = np.asarray(large) + np.random.default_rng(0).normal(0, 20, (700, 900, 3))
    PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(photos.folder / "large.png")
    async with Client(server) as client:
        told = facts(await call(client, "denoise", image="large.png"))
    names = [one.split(" ")[0] for one in told["candidates"].split("; ")]
    assert len(names) == len(set(names))
