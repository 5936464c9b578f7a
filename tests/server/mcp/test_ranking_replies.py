"""Which version is better, in every tool alike; what arguments change of what is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from mcp import Client
from mcp.server import MCPServer
from mcp.types import CallToolResult

pytestmark = pytest.mark.anyio


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result


async def test_versions_of_one_input_rank_alike_in_every_tool(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    """A median filter leaves rain and looks smooth; the judge that chooses among candidates decides everywhere."""
    rainy = np.array(PIL.Image.open(photos.clean), float)
    for top, left in np.random.default_rng(3).integers(0, (68, 90), (60, 2)):
        for row in range(12):
            rainy[top + row, left + row // 3] = rainy[top + row, left + row // 3] * 0.4 + 150
    PIL.Image.fromarray(rainy.astype(np.uint8)).save(photos.folder / "rainy.png")
    experts = "median_derain, restore4k_derain"
    async with Client(server) as client:
        listed = facts(await call(client, "run_candidates", image="rainy.png", task="derain", experts=experts))
        handles = {line.split()[0]: name for name, line in listed.items() if name.startswith("img_")}
        assert set(handles) == {"keep_input", "median_derain", "restore4k_derain"}
        chosen = facts(await call(client, "select_best", candidates=", ".join(handles.values())))
        best = chosen["expert"]
        for other in handles.keys() - {best}:
            pair = {"first": handles[other], "second": handles[best]}
            reply = facts(await call(client, "compare_images", **pair))
            assert reply["better"].startswith("second, "), reply
            assert "deraining on img_" in reply["better"]
            reply = facts(await call(client, "compare_images", first=pair["second"], second=pair["first"]))
            assert reply["better"].startswith("first, "), reply
        against_input = facts(await call(client, "compare_images", first="rainy.png", second=handles[best]))
        weak = facts(await call(client, "select_best", candidates=handles[best], strength=0.5))
        blended = facts(await call(client, "compare_images", first=weak["handle"], second=handles[best]))
        measured = (await call(client, "analyze_quality", image=handles[best])).structured_content or {}
    assert against_input["better"].startswith("second, ")
    assert "deraining on img_" in against_input["better"]
    assert "by quality alone" in blended["better"]
    judged = measured["judged"].removeprefix("score ").split(" for deraining on img_")[0]
    assert float(judged) == pytest.approx(float(chosen["score"].split()[0]), abs=1e-3)


async def test_metadata_is_stripped_and_detail_chosen_where_asked(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "where I live"
    PIL.Image.open(photos.clean).save(photos.folder / "described.jpg", exif=exif)
    async with Client(server) as client:
        files_of: dict[bool, list[Path]] = {}
        for strip in (False, True):
            whole = await call(client, "restore_to_4k", image="described.jpg", plan="", strip_metadata=strip)
            steps = await call(client, "finish_restoration", image="described.jpg", width=48, strip_metadata=strip)
            files_of[strip] = [Path(facts(one)["file"]) for one in (whole, steps)]
        plans = [
            (
                await call(
                    client, "plan_restoration", image="described.jpg", size="4x", plan="super_resolve", detail=detail
                )
            ).structured_content
            for detail in (0, 1)
        ]
    for strip, files in files_of.items():
        for file in files:
            with PIL.Image.open(file) as picture:
                assert (picture.getexif().get(0x010E) == "where I live") != strip, file
    faithful, textured = ((plan or {})["steps"][-1]["experts"] for plan in plans)
    assert faithful != textured
    assert [json.loads((plan or {})["next"].partition(" ")[2]).get("detail") for plan in plans] == [0, 1]


async def test_step_tools_keep_the_alpha_resolution_and_map_of_a_tiff_as_they_were(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    """Handles of steps are PNG files, which hold neither associated alpha nor a map."""
    alpha = np.linspace(64, 255, 40 * 48).reshape(40, 48, 1)
    colours = np.random.default_rng(0).uniform(0, 255, (40, 48, 3)) * alpha / 255
    tags = [(33550, "d", 3, (2.0, 2.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0), True)]
    tifffile.imwrite(
        photos.folder / "map.tif",
        np.rint(np.concatenate([colours, alpha], axis=2)).astype(np.uint8),
        photometric="rgb",
        extrasamples=["assocalpha"],
        resolution=(300, 300),
        resolutionunit="INCH",
        extratags=tags,
    )
    async with Client(server) as client:
        step = facts(await call(client, "super_resolve", image="map.tif", expert="lanczos_2x", scale=2))
        done = facts(await call(client, "finish_restoration", image=step["handle"], width=96, output="done.tif"))
    with tifffile.TiffFile(done["file"]) as file:
        page = file.pages.first
        assert page.extrasamples == (tifffile.EXTRASAMPLE.ASSOCALPHA,)
        assert page.tags[33550].value == (1.0, 1.0, 0.0)
        assert page.tags["XResolution"].value == (300, 1)
        result = page.asarray().astype(int)
    assert result.shape == (80, 96, 4)
    assert (result[..., :3] <= result[..., 3:] + 1).all()
