"""The pictures of replies, and what the replies say that they show."""

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

pytestmark = pytest.mark.anyio


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    return await client.call_tool(tool, arguments)


def pictures(result: CallToolResult) -> list[NDArray[Any]]:
    shown = [block for block in result.content if isinstance(block, ImageContent)]
    return [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(block.data))).convert("RGB")) for block in shown]


async def test_look_says_which_picture_is_where(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        beside = facts(await call(client, "look", image="noisy.jpg", beside="clean.png"))
        wide = facts(await call(client, "look", image="noisy.jpg", beside="clean.png", region="0,0,1,0.3"))
        less = facts(await call(client, "look", image="noisy.jpg", beside="clean.png", difference=True))
    assert (beside["left"], beside["right"]) == ("noisy.jpg", "clean.png")
    assert (wide["above"], wide["below"]) == ("noisy.jpg", "clean.png")
    assert less["difference"] == "clean.png minus noisy.jpg, 4 times as strong, on grey"


async def test_the_detail_shows_a_place_that_changed(server: MCPServer[Any], photos: Any) -> None:
    """Also where the changes lie at the ends of a wide page and nothing between them."""
    page = np.full((200, 1500, 3), 255, np.uint8)
    page[10:40, 500:520] = page[10:40, 770:790] = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    PIL.Image.fromarray(page).save(photos.folder / "page.png")
    async with Client(server) as client:
        result = await call(client, "super_resolve", image="page.png", scale=2, expert="lanczos_2x")
    assert pictures(result)[1].std() > 5


@pytest.fixture
def large(photos: Any) -> NDArray[Any]:
    """A picture of 1600x1200 pixels that is black, but for squares at the left and in its middle."""
    picture = np.zeros((1200, 1600, 3), np.uint8)
    picture[560:640, 760:840] = 255
    picture[100:160, 100:160] = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    PIL.Image.fromarray(picture).save(photos.folder / "large.png")
    picture[900:940, 1300:1340] = 255
    PIL.Image.fromarray(picture).save(photos.folder / "changed.png")
    return picture


def region_and_percent(reply: dict[str, str]) -> tuple[list[int], float]:
    """Left, top, width and height, and the scale, of what a reply says that its picture shows."""
    region, _, percent = reply["shown"].partition(", at ")
    return [int(number) for number in region.split(" of ")[0].split(",")], float(percent.rstrip("%")) / 100


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"scale": 1},
        {"scale": 2},
        {"scale": 1e-300},
        {"region": "centre"},
        {"region": "most detail"},
        {"region": "1000,700,600,500", "scale": 3},
        {"beside": "changed.png"},
        {"beside": "changed.png", "scale": 1},
        {"beside": "changed.png", "region": "most changed"},
        {"beside": "changed.png", "region": "0,0,1,0.2"},
        {"beside": "changed.png", "difference": True, "scale": 1},
    ],
    ids=str,
)
async def test_look_shows_the_pixels_that_it_names(
    server: MCPServer[Any], photos: Any, facts: Any, large: NDArray[Any], wish: dict[str, Any]
) -> None:
    async with Client(server) as client:
        result = await call(client, "look", image="large.png", **wish)
    (left, top, width, height), scale = region_and_percent(facts(result))
    (seen,) = pictures(result)
    is_pair = "beside" in wish and not wish.get("difference")
    wide = width > 2 * height
    expected = (width * (1 if wide or not is_pair else 2), height * (2 if wide and is_pair else 1))
    assert seen.shape[1] == pytest.approx(max(1, expected[0] * scale), abs=6)
    assert seen.shape[0] == pytest.approx(max(1, expected[1] * scale), abs=6)
    if scale == 1 and "beside" not in wish:
        with PIL.Image.open(photos.folder / "large.png") as whole:
            part = np.asarray(whole)[top : top + height, left : left + width].astype(float)
        assert np.abs(part - seen).mean() < 3


@pytest.mark.usefixtures("large")
async def test_a_place_is_shown_in_original_pixels_with_what_is_around_it(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    async with Client(server) as client:
        reply = facts(await call(client, "look", image="large.png", beside="changed.png", region="most changed"))
        detail = facts(await call(client, "look", image="large.png", region="most detail"))
        small = facts(await call(client, "look", image="noisy.jpg", region="most detail"))
    (left, top, width, height), scale = region_and_percent(reply)
    assert (width, height, scale) == (512, 512, 1)
    assert left <= 1300 < 1340 <= left + width
    assert top <= 900 < 940 <= top + height
    assert (region_and_percent(detail)[0][2:], region_and_percent(detail)[1]) == ([512, 512], 1)
    assert region_and_percent(small) == ([0, 0, 96, 80], 1)


async def test_a_reply_with_pictures_says_what_they_show(
    server: MCPServer[Any], photos: Any, facts: Any, large: NDArray[Any]
) -> None:
    noisy = np.clip(large + np.random.default_rng(0).normal(0, 60, large.shape), 0, 255).astype(np.uint8)
    PIL.Image.fromarray(noisy).save(photos.folder / "noise.png")
    wish = {"plan": "denoise", "experts": "tv_denoise"}
    async with Client(server) as client:
        small = facts(await call(client, "denoise", image="noisy.jpg", expert="tv_denoise"))
        step = await call(client, "denoise", image="noise.png", expert="tv_denoise")
        whole = await call(client, "restore_to_4k", image="noise.png", **wish)
        again = await call(client, "get_run", run=facts(whole)["run"])
        finished = facts(await call(client, "finish_restoration", image="noise.png", width=800))
    assert small["pictures"] == "before, then after"
    assert finished["pictures"] == "before, then after: the whole, reduced"
    for result in (step, whole, again):
        line = facts(result)["pictures"]
        assert line.startswith("before, then after: the whole, reduced; ")
        left, top, width, height = map(int, line.partition("; ")[2].removesuffix(" at 100%").split(","))
        _, detail = pictures(result)
        assert detail.shape[:2] == (height, 2 * width + 4)  # also where noise needs many bytes
        before = noisy[top : top + height, left : left + width].astype(float)
        assert np.abs(detail[:, :width] - before).mean() < 25
