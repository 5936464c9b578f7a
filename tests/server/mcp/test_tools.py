"""Every tool, in both eras of the protocol, by what a model reads and sees of it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent

from imaging.convert import to_numpy, to_uint8
from imaging.image import Image
from server.mcp.tools_steps import TASK_TOOLS

pytestmark = pytest.mark.anyio
MOST_BYTES = 1_000_000
MOST_TEXT = 6_000


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    """The result, which is no error and small; it has pictures or structured content, never both."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert len(result.model_dump_json()) < MOST_BYTES
    assert isinstance(result.content[0], TextContent)
    assert len(result.content[0].text) < MOST_TEXT
    assert not (pictures(result) and result.structured_content)
    return result


def pictures(result: CallToolResult) -> list[PIL.Image.Image]:
    shown = [block for block in result.content if isinstance(block, ImageContent)]
    return [PIL.Image.open(io.BytesIO(base64.b64decode(block.data))).convert("RGB") for block in shown]


def pixels(file: str | Path) -> np.ndarray[Any, Any]:
    with PIL.Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_restore_to_4k_tells_and_shows_what_it_did(
    server: MCPServer[Any], photos: Any, facts: Any, mode: str
) -> None:
    async with Client(server, mode=mode) as client:
        result = await call(client, "restore_to_4k", image=str(photos.noisy), size=500, max_expert_runs=1)
        reply = facts(result)
        assert pixels(reply["file"]).shape == (417, 500, 3)
        assert "noise high (0.9" in reply["found"]
        assert "super_resolution" in reply["left"]
        assert "budget" in reply["left"]
        assert reply["undo"].startswith("img_")
        links = [block for block in result.content if isinstance(block, ResourceLink)]
        assert [link.mime_type for link in links] == ["image/png", "text/html"]
        for link in links:
            contents = (await client.read_resource(link.uri)).contents
            assert contents[0].mime_type == link.mime_type
        trace = await client.read_resource(f"run://{reply['run']}/trace")
        assert '"event":"finished"' in trace.contents[0].text
        files = list(Path(reply["file"]).parent.iterdir())
        again = facts(await call(client, "restore_to_4k", image=str(photos.noisy), size="500", max_expert_runs=1))
        assert (again["run"], again["file"]) == (reply["run"], reply["file"])
        assert list(Path(reply["file"]).parent.iterdir()) == files
        by_run = await call(client, "look", image=f"run://{reply['run']}", region="0,0,50,50", scale=2)
    assert len(pictures(result)) == 2  # the whole and a detail, before and after
    assert pictures(by_run)[0].size == (100, 100)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (
            {"max_seconds": 1e-6, "findings": "none"},
            "only resized, since the budget was spent before super_resolution",
        ),
        ({"plan": ""}, "left as it was, since the plan has no step"),
        ({"plan": ["restore_faces"]}, "left as it was, since no step of the plan made it better"),
    ],
)
async def test_restore_to_4k_says_why_little_or_nothing_was_done(
    server: MCPServer[Any], photos: Any, facts: Any, wish: dict[str, Any], message: str
) -> None:
    async with Client(server) as client:
        result = facts(await call(client, "restore_to_4k", image=str(photos.noisy), scale=2, **wish))
    assert message in result["summary"]


async def test_strength_region_size_and_name_of_a_restoration_are_followed(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    arguments = {"image": str(photos.noisy), "plan": "denoise", "experts": "tv_denoise"}
    steering = {"strength": 0.5, "region": "0,0,0.5,1"}
    (photos.folder / "quick.toml").write_text('plan = ["denoising"]\nexperts = ["tv_denoise"]\n')
    async with Client(server) as client:
        full = facts(await call(client, "restore_to_4k", **arguments))
        half = facts(await call(client, "restore_to_4k", **arguments, **steering))
        of_all = await call(client, "restore_folder", folder=".", profile="quick.toml", **steering)
        named = facts(await call(client, "restore_to_4k", **arguments, size="80x40 crop", output="trip/mine.webp"))
        narrow = await call(client, "plan_restoration", image="noisy.jpg", size="width 72")
    before, whole, part = pixels(photos.noisy), pixels(full["file"]), pixels(half["file"])
    assert np.array_equal(part[:, 50:], before[:, 50:])
    assert np.abs(part[:, 10:30] - (before + whole)[:, 10:30] / 2).max() <= 1
    folder = Path((of_all.structured_content or {})["folder"])
    assert np.array_equal(pixels(folder / "noisy.png"), part)
    assert named["file"].endswith("output/trip/mine.webp")
    assert pixels(named["file"]).shape == (40, 80, 3)
    assert (narrow.structured_content or {})["final_height"] == 60


@pytest.mark.parametrize("tool", list(TASK_TOOLS))
async def test_each_task_tool_answers_with_an_image_of_the_same_size(
    server: MCPServer[Any], photos: Any, facts: Any, tool: str
) -> None:
    async with Client(server) as client:
        result = await call(client, tool, image=str(photos.noisy))
    reply = facts(result)
    assert reply["image"].endswith(" 96x80")
    kept = reply["expert"] == "keep_input"
    assert ("file" in reply) == (not kept) == bool(pictures(result))
    assert not kept or reply["otherwise"].split()[2] in reply["candidates"]  # who insists is told how
    assert "candidates" in reply


async def test_steps_chain_by_handle_and_can_be_undone_weakened_and_finished(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    async with Client(server) as client:
        first = facts(await call(client, "denoise", image=str(photos.noisy), expert="tv_denoise"))
        weak = facts(
            await call(client, "denoise", image=first["undo"].split()[0], expert="tv_denoise", strength=0, output="w")
        )
        larger = facts(await call(client, "super_resolve", image=first["handle"], scale=1.5, expert="lanczos_2x"))
        finished = [facts(await call(client, "finish_restoration", image=larger["handle"], width=72)) for _ in "ab"]
    assert np.array_equal(pixels(weak["file"]), pixels(photos.noisy))
    assert Path(weak["file"]).name == "w.png"
    assert larger["image"].endswith(" 144x120")
    names = [Path(step["file"]).name for step in (first, larger, finished[0])]
    assert names == ["noisy_denoise.png", "noisy_super_resolve.png", "noisy_restored.png"]
    assert finished[0]["file"] == finished[1]["file"]
    assert pixels(finished[0]["file"]).shape == (60, 72, 3)


async def test_a_mask_image_a_polygon_and_faces_limit_a_step(
    server: MCPServer[Any], photos: Any, facts: Any, photo: Image
) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[:, :24] = 255
    PIL.Image.fromarray(mask).save(photos.folder / "mask.png")
    PIL.Image.fromarray(to_uint8(to_numpy(photo.pixels)[:256, 96:352])).save(photos.folder / "portrait.png")
    async with Client(server) as client:
        for image, region in (("noisy.jpg", "mask.png"), ("noisy.jpg", "0,0 48,0 0,79"), ("portrait.png", "faces")):
            reply = facts(await call(client, "denoise", image=image, region=region, expert="tv_denoise"))
            difference = np.abs(pixels(reply["file"]) - pixels(photos.folder / image)).sum(axis=2)
            assert difference[-20:, -20:].max() == 0
            assert difference.max() > 0
        PIL.Image.fromarray(255 - mask).save(photos.folder / "mask.png")  # the same call means another mask now
        again = facts(await call(client, "denoise", image="noisy.jpg", region="mask.png", expert="tv_denoise"))
    difference = np.abs(pixels(again["file"]) - pixels(photos.noisy)).sum(axis=2)
    assert difference[:, :44].max() == 0
    assert difference.max() > 0


async def test_restore_faces_says_what_became_of_each_and_compares_with_the_original(
    server: MCPServer[Any], photos: Any, facts: Any, photo: Image
) -> None:
    face = to_numpy(photo.pixels)[:256, 96:352]
    noisy = np.clip(face + np.random.default_rng(0).normal(0, 0.09, face.shape), 0, 1).astype(np.float32)
    PIL.Image.fromarray(to_uint8(noisy)).save(photos.folder / "portrait.png")
    original = PIL.Image.fromarray(to_uint8(face))
    original.save(photos.folder / "original.png")
    original.filter(PIL.ImageFilter.GaussianBlur(9)).save(photos.folder / "blurred.png")
    async with Client(server) as client:
        named = facts(await call(client, "restore_faces", image="portrait.png", expert="face_clean_sharpen"))
        alone = facts(await call(client, "restore_faces", image="blurred.png", expert="face_clean_sharpen"))
        found = facts(
            await call(client, "restore_faces", image="blurred.png", original="original.png", expert="face_sharpen")
        )
        cut = {"image": "blurred.png", "original": "clean.png"}
        refused = await client.call_tool("restore_faces", cut)
        seen = await call(client, "look", image="portrait.png", region="face 1")
    assert "face_clean_sharpen" in named["face 1"]
    assert named["file"]
    assert "no face was found" in alone["summary"]
    assert found["faces"].startswith("1 ")
    assert refused.is_error
    assert pictures(seen)[0].width > 50


async def test_candidates_are_judged_shown_and_chosen(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        result = await call(client, "run_candidates", image=str(photos.noisy), task="Noise")
        lines = result.content[0].text.splitlines()  # type: ignore[union-attr]
        rows = [line for line in lines if line.startswith("img_")]
        handles = [row.split(": ")[0] for row in rows]
        best = facts(await call(client, "select_best", candidates=", ".join(handles)))
        chosen = facts(await call(client, "select_best", candidates=handles, choice=handles[-1]))
        task = facts(await call(client, "denoise", image=str(photos.noisy)))
        ran = [name for one in task["candidates"].split("; ") if (name := one.split()[0]) != "keep_input"]
        same = await call(client, "run_candidates", image=str(photos.noisy), task="denoising", experts=ran)
        few = [row.split(": ")[0] for row in same.content[0].text.splitlines() if row.startswith("img_")]  # type: ignore[union-attr]
        agreed = facts(await call(client, "select_best", candidates=few))
        other = await call(
            client, "run_candidates", image=str(photos.noisy), task="dehaze", experts="contrast_dehaze"
        )
        stranger = other.content[0].text.splitlines()[1].split(": ")[0]  # type: ignore[union-attr]
        mixed = await client.call_tool("select_best", {"candidates": [handles[0], stranger]})
    names = [row.split(": ")[1] for row in rows]  # and nothing else: everybody judges from what they see
    assert names == sorted(names)
    assert "keep_input" in names
    assert len(rows) >= 4
    (sheet,) = pictures(result)
    assert sheet.width * sheet.height >= len(rows) * 96 * 96
    assert (agreed["expert"], agreed["image"]) == (task["expert"], task["image"])
    assert best["expert"] == best["candidates"].split()[0]
    assert chosen["expert"] == names[-1]
    assert mixed.is_error


async def test_the_path_of_an_enlargement_is_asked_for_by_its_name(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    half = "lanczos_2x.half_cleaned"
    wish = {"plan": "denoise, upscale", "scale": 2}
    async with Client(server) as client:
        whole = facts(await call(client, "restore_to_4k", image="noisy.jpg", experts=f"tv_denoise, {half}", **wish))
        await call(client, "plan_restoration", image="noisy.jpg", size="2x", plan="denoise, upscale")
        clean = facts(await call(client, "denoise", image="noisy.jpg", expert="tv_denoise"))
        step = facts(await call(client, "super_resolve", image=clean["handle"], scale=2, expert=half))
        wrong = await client.call_tool("super_resolve", {"image": "noisy.jpg", "expert": "lanczos.half_cleaned"})
    assert f"super_resolution 2x: {half}" in whole["steps"]
    assert step["expert"] == half
    assert np.array_equal(pixels(step["file"]), pixels(whole["file"]))
    assert "did you mean" in wrong.content[0].text  # type: ignore[union-attr]


async def test_naming_an_expert_does_not_get_round_its_licence(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        result = await client.call_tool("derain", {"image": str(photos.clean), "expert": "restormer_derain"})
    assert result.is_error
    assert "forbids commercial use" in result.content[0].text


async def test_an_image_is_understood_in_every_form_that_models_use(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    data = base64.b64encode(photos.clean.read_bytes()).decode()
    async with Client(server) as client:
        handle = facts(await call(client, "denoise", image="clean.png", expert="tv_denoise"))["undo"].split()[0]
        forms = [
            handle, f"image://{handle}", f'"{handle}"', handle.upper(), str(photos.clean), photos.clean.as_uri(),
            f"data:image/png;base64,{data}", data, {"path": str(photos.clean)}, {"handle": handle}, {"data": data},
        ]  # fmt: skip
        found = [(await call(client, "analyze_quality", image=form)).structured_content for form in forms]
        found.append((await call(client, "analyze_quality", path="clean.png")).structured_content)
    assert {answer["quality"] for answer in found if answer} == {found[0]["quality"]}  # type: ignore[index]


async def test_a_large_image_is_read_as_a_preview_and_in_full_on_request(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (1000, 1200, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(photos.folder / "large.png")
    async with Client(server) as client:
        reply = facts(await call(client, "finish_restoration", image="large.png"))
        preview = (await client.read_resource(f"image://{reply['handle']}")).contents[0]
        full = (await client.read_resource(f"image://{reply['handle']}/full")).contents[0]
    assert len(preview.blob) < MOST_BYTES
    with PIL.Image.open(io.BytesIO(base64.b64decode(full.blob))) as picture:
        assert picture.size == (1200, 1000)


async def test_a_profile_that_asks_for_a_model_that_is_not_there_says_what_to_set(
    server: MCPServer[Any], photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESTORE4K_LLM_URL", raising=False)
    monkeypatch.delenv("RESTORE4K_VLM", raising=False)
    async with Client(server) as client:
        result = await call(client, "plan_restoration", image=str(photos.noisy), profile="ExpSR-s4-F")
    assert any("RESTORE4K_LLM_URL" in warning for warning in (result.structured_content or {})["warnings"])
