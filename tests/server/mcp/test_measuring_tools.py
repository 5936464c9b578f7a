"""The tools that measure, show and list, and change nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
from mcp import Client
from mcp.server import MCPServer

from iqa.metric import Metric, default_metrics
from tests.server.mcp.test_tools import call, pictures

pytestmark = pytest.mark.anyio


async def test_what_is_wrong_is_told_in_few_words_and_a_plan_is_the_callers(
    server: MCPServer[Any], photos: Any
) -> None:
    async with Client(server) as client:
        found = (await call(client, "reason_degradations", image=str(photos.noisy))).structured_content or {}
        own = {"plan": "denoise, upscale", "findings": "noise high, haze low"}
        plan = (
            await call(client, "plan_restoration", image=str(photos.noisy), size="1.5x", **own)
        ).structured_content
        reasons = (await call(client, "plan_restoration", image=str(photos.noisy), findings=[])).structured_content
    assert "noise" in [finding["degradation"] for finding in found["findings"] if finding["present"]]
    assert "very low" not in {finding["severity"] for finding in found["findings"]}
    assert found["image"]["handle"] == str(photos.noisy)
    assert plan
    assert [(step["task"], step["scale"]) for step in plan["steps"]] == [("denoising", 1), ("super_resolution", 2)]
    assert (plan["final_width"], plan["final_height"], plan["by"]) == (144, 120, "caller")
    assert reasons
    assert [step["task"] for step in reasons["steps"]] == ["super_resolution"] * 2


async def test_the_plan_of_two_enlargements_names_the_experts_that_then_run(
    server: MCPServer[Any], photos: Any
) -> None:
    """A smaller network makes the second one on a CPU."""
    twice = {"image": str(photos.clean), "plan": "upscale", "size": "16x"}
    async with Client(server) as client:
        planned = (await call(client, "plan_restoration", **twice)).structured_content or {}
        done = await call(client, "restore_to_4k", **twice)
    text = "".join(block.text for block in done.content if block.type == "text")
    (ran,) = (line for line in text.splitlines() if line.startswith("steps: "))
    first, second = (step["experts"].split(", ") for step in planned["steps"])
    assert first != second
    for names, experts in zip(re.findall(r"super_resolution 4x: (\S+)", ran), (first, second), strict=True):
        assert set(names.split("+")) <= set(experts)


async def test_a_metric_has_one_value_in_all_tools_and_different_pictures_are_not_compared(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    other = np.random.default_rng(1).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    PIL.Image.fromarray(other).resize((96, 80)).save(photos.folder / "other.png")
    async with Client(server) as client:
        measured = (await call(client, "analyze_quality", image="noisy.jpg")).structured_content or {}
        found = (await call(client, "reason_degradations", image="noisy.jpg")).structured_content or {}
        result = await call(client, "compare_images", first="noisy.jpg", second="clean.png")
        refused = await client.call_tool("compare_images", {"first": "noisy.jpg", "second": "other.png"})
        larger = facts(await call(client, "super_resolve", image="clean.png", scale=2, expert="lanczos_2x"))
        sizes = facts(await call(client, "compare_images", first="clean.png", second=larger["handle"]))
    metrics = facts(result)
    assert measured["quality"] == pytest.approx(found["quality"], abs=1e-3)
    assert f"quality {measured['quality']:.4f}" in metrics["first"]
    assert 15 < float(metrics["fidelity"].split("psnr ")[1].split(",")[0]) < 35
    assert len(pictures(result)) == 1
    assert "different pictures" in refused.content[0].text
    assert "sizes differ" in sizes["fidelity"]


async def test_metrics_without_reference_of_other_distributions_are_measured_too(
    server: MCPServer[Any], photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    brightness = Metric("brightness", True, (0.0, 1.0), "none", "Mean.", lambda image: float(image.pixels.mean()))
    known = {**default_metrics(), brightness.name: brightness}
    monkeypatch.setattr("server.reports.default_metrics", lambda: known)
    async with Client(server) as client:
        measured = (await call(client, "analyze_quality", image="noisy.jpg")).structured_content or {}
    values = {metric["name"]: metric["value"] for metric in measured["metrics"]}
    assert 0.1 < values["brightness"] < 0.9


async def test_look_shows_original_pixels_two_versions_and_their_difference(
    server: MCPServer[Any], photos: Any
) -> None:
    with PIL.Image.open(photos.noisy) as picture:
        picture.resize((2400, 2000)).save(photos.folder / "large.png")
    async with Client(server) as client:
        part = await call(client, "look", image="large.png", region="100,200,300,240")
        whole = await call(client, "look", image="large.png")
        both = await call(client, "look", image="noisy.jpg", beside="clean.png", region="most changed", scale=4)
        same = await call(client, "look", image="clean.png", beside="clean.png", difference=True)
        magnified = await call(client, "look", image="clean.png", region="centre", scale=8)
    with PIL.Image.open(photos.folder / "large.png") as large:
        original = np.asarray(large.convert("RGB"))[200:440, 100:400].astype(int)
    assert np.abs(np.asarray(pictures(part)[0]).astype(int) - original).mean() < 3
    assert pictures(whole)[0].size == (1024, 853)
    assert pictures(both)[0].width > 2 * 4 * 15
    grey = np.asarray(pictures(same)[0])
    assert (grey.min(), grey.max()) in ((127, 127), (128, 128))
    assert max(pictures(magnified)[0].size) <= 1024


async def test_lists_are_a_line_each_and_details_on_request(server: MCPServer[Any]) -> None:
    async with Client(server) as client:
        all_experts = (await call(client, "list_experts")).structured_content or {}
        some = (await call(client, "list_experts", task="dehaze", include_missing=True)).structured_content or {}
        profiles = (await call(client, "list_profiles")).structured_content or {}
        one = (await call(client, "list_profiles", profile="gen4k p")).structured_content or {}
    experts = {line.split(": ")[0]: line for line in some["experts"]}
    assert all(len(line) < 100 for line in all_experts["experts"])
    assert any(line.startswith("lanczos_4x: super_resolution 4x") for line in all_experts["experts"])
    assert "not available" in experts["ridcp"]
    assert "mixdehazenet_outdoor" in experts["ridcp"]
    assert all_experts["not_shown"] > 0
    assert any(line.startswith("default: ") for line in profiles["profiles"])
    assert one["long_side"] == 4096


@pytest.mark.parametrize("tool", ["analyze_quality", "reason_degradations"])
async def test_what_is_hidden_behind_transparency_is_not_judged(
    server: MCPServer[Any], photos: Any, tool: str
) -> None:
    picture = np.dstack([np.asarray(PIL.Image.open(photos.clean)), np.full((80, 96), 255, np.uint8)])
    picture[:, 60:, 3] = 0
    contents = []
    async with Client(server) as client:
        for hidden in (0, 255):
            picture[:, 60:, :3] = hidden
            PIL.Image.fromarray(picture).save(photos.folder / "cut_out.png")
            result = await call(client, tool, image="cut_out.png")
            contents.append(result.structured_content)
    assert contents[0] == contents[1]


async def test_compared_images_are_shown_on_white(server: MCPServer[Any], photos: Any) -> None:
    clear = PIL.Image.open(photos.clean).convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 96, 20))
    clear.save(photos.folder / "clear.png")
    async with Client(server) as client:
        result = await call(client, "compare_images", first="clear.png", second="clear.png")
    shown = pictures(result)[0].convert("L")
    assert min(shown.crop((0, 0, shown.width, 15)).tobytes()) > 240
