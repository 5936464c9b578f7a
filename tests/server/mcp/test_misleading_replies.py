"""Replies that misled a model, and arguments that it wrote and that were refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from mcp import Client
from mcp.server import MCPServer
from mcp.types import CallToolResult

from agent.run_folder import RunFolder
from imaging.convert import to_numpy, to_uint8
from imaging.image import Image
from server.mcp.app import build_server
from server.mcp.restoration_text import progress_lines

pytestmark = pytest.mark.anyio


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    return await client.call_tool(tool, arguments)


async def test_what_was_found_does_not_contradict_the_steps_that_were_taken(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    wish = {"plan": "denoise", "experts": "tv_denoise", "findings": "none"}
    async with Client(server) as client:
        reply = facts(await call(client, "restore_to_4k", image="noisy.jpg", **wish))
    assert reply["steps"].startswith("denoising: tv_denoise")
    assert reply["found"] == "nothing severe"


async def test_reasons_are_about_steps_that_were_tried(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        reply = facts(await call(client, "restore_to_4k", image="noisy.jpg", size=500, max_expert_runs=1))
    assert "super_resolution: the budget was spent" in reply["left"]
    assert "super_resolution" not in reply.get("reasons", "")


@pytest.mark.parametrize(
    ("given", "strength"), [("50%", "0.5"), ("50 %", "0.5"), ("50 percent", "0.5"), ("0.5", "0.5")]
)
async def test_a_strength_in_percent_is_understood(
    server: MCPServer[Any], photos: Any, facts: Any, given: str, strength: str
) -> None:
    async with Client(server) as client:
        reply = facts(await call(client, "denoise", image="noisy.jpg", expert="tv_denoise", strength=given))
    assert reply["strength"] == strength


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
        reply = facts(await call(client, "restore_to_4k", image="clean.png", plan=plan))
    assert "since the plan has no step" in reply["summary"]


async def test_a_format_beside_a_name_is_its_suffix(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        named = facts(await call(client, "finish_restoration", image="clean.png", output="mine", format="jpeg"))
        refused = await call(client, "finish_restoration", image="clean.png", output="mine.png", format="jpeg")
    assert named["file"].endswith("mine.jpg")
    assert refused.is_error


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
        reply = facts(
            await call(client, "restore_faces", image="two.png", region="face 1", expert="face_clean_sharpen")
        )
        wish = {"plan": "restore_faces", "experts": "face_sharpen", "region": "face 2"}
        whole = facts(await call(client, "restore_to_4k", image="two.png", **wish))
    lines = [reply["face 1"], reply["face 2"]]
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
        reply = facts(await call(client, "denoise", image="large.png"))
    names = [one.split(" ")[0] for one in reply["candidates"].split("; ")]
    assert len(names) == len(set(names))


async def test_scores_of_different_steps_are_not_told_as_if_they_could_be_compared(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    wish = {"plan": "denoise, super_resolve", "experts": "tv_denoise, lanczos_2x", "size": "2x"}
    async with Client(server) as client:
        steps = facts(await call(client, "restore_to_4k", image="noisy.jpg", **wish))["steps"].split("; ")
    assert "score " in steps[0]
    assert ", input " in steps[0]
    assert steps[1] == "super_resolution 2x: lanczos_2x"


async def test_findings_of_the_caller_are_told_as_given(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        wish = {"findings": "dark high", "size": "96"}
        reply = facts(await call(client, "restore_to_4k", image="noisy.jpg", **wish))
    assert reply["found"] == "dark high (given)"


async def test_a_step_that_kept_the_input_is_not_told_as_done_by_an_expert(
    server: MCPServer[Any], settings: Any, photos: Any, facts: Any
) -> None:
    wish = {"plan": "deblur_motion, denoise, deblur_defocus", "size": "96"}
    async with Client(server) as client:
        done = facts(await call(client, "restore_to_4k", image="clean.png", **wish))
    state = RunFolder(settings.runs / done["run"]).load_state()
    assert any(node.expert == "keep_input" for node in state.nodes)
    lines = [line for line in progress_lines(state) if line.startswith("done: ")]
    assert len(lines) == len(state.path_to(state.current)) - 1
    assert not any("keep_input" in line for line in lines)
    assert "tried; no result was better than without it" in done["left"]


async def test_a_run_that_goes_on_after_a_restart_tells_what_it_found_before(
    server: MCPServer[Any], settings: Any, photos: Any, facts: Any
) -> None:
    wish = {"image": "noisy.jpg", "plan": "denoise", "experts": "tv_denoise", "size": "96"}
    heard = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((message or "").split(" very")[0])

    async with Client(server) as client:
        run = facts(await call(client, "restore_to_4k", **wish))["run"]
    folder = RunFolder(settings.runs / run)
    state = folder.load_state()
    Path(state.output).unlink()
    folder.save_state(state.model_copy(update={"finished": False, "result": None}))
    async with Client(build_server(settings)) as client:
        stopped = await call(client, "get_run", run=run)
        await client.call_tool("restore_to_4k", wish, progress_callback=hear)
    assert {"found: low resolution", "plan: denoising; to 96x80", "done: denoising: tv_denoise"} <= set(heard)
    text = stopped.content[0].text  # type: ignore[union-attr]
    assert "done: denoising: tv_denoise" in text


async def test_a_run_under_way_tells_for_how_long(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    """A share of its pixels would be taken for a share of its time."""
    async with Client(server) as client:
        wish = {"image": "clean.png", "plan": "upscale", "size": "16x", "wait_seconds": 0}
        begun = facts(await call(client, "restore_to_4k", **wish))
        queued = facts(await call(client, "restore_to_4k", **wish | {"strength": 0.5}))
        listed = (await call(client, "list_runs")).structured_content or {}
        for one in (queued, begun):
            await call(client, "cancel_run", run=one["run"])
    assert re.fullmatch(r"running for \d+ s", begun["state"])
    assert queued["state"] == "queued, position 1"
    assert all(run["seconds"] >= 0 for run in listed["runs"])


async def test_faces_that_stay_as_they_are_have_no_score_and_no_identity(
    server: MCPServer[Any], photos: Any, facts: Any
) -> None:
    astronaut = np.asarray(skimage.data.astronaut())
    PIL.Image.fromarray(astronaut).save(photos.folder / "sharp.png")
    PIL.Image.fromarray(astronaut[300:500, 0:200]).save(photos.folder / "suit.png")
    async with Client(server) as client:
        none = facts(await call(client, "restore_faces", image="suit.png"))
        kept = facts(await call(client, "restore_faces", image="sharp.png"))
        expert = kept["otherwise"].split(" ")[2]
        insisted = facts(await call(client, "restore_faces", image="sharp.png", expert=expert))
    assert none["faces"].startswith("0 ")
    assert not {"score", "candidates"} & set(none)
    assert "keep_input" not in kept["face 1"]
    assert kept["face 1"].endswith("unchanged, no expert was better")
    assert f": {expert}, identity " in insisted["face 1"]


async def test_a_selected_candidate_is_told_beside_the_input(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    """Also if the input is not among the handles: the best of bad candidates would seem an improvement."""
    async with Client(server) as client:
        ran = facts(
            await call(client, "run_candidates", image="clean.png", task="denoise", experts="tv_denoise, nlm_denoise")
        )
        handles = [name for name, expert in ran.items() if name.startswith("img_") and expert != "keep_input"]
        chosen = facts(await call(client, "select_best", candidates=", ".join(handles)))
    assert "(input " in chosen["score"]
    score, _, before = chosen["score"].partition(" (input ")
    assert float(score) <= float(before.rstrip(")"))
    assert chosen["note"] == "chosen, though its score is not above that of the input"


@pytest.mark.parametrize("wish", [{"plan": "super_resolve"}, {"profile": "ExpSR-s2-F"}], ids=str)
async def test_what_is_left_is_told_once_and_why(
    server: MCPServer[Any], photos: Any, facts: Any, wish: dict[str, Any]
) -> None:
    """A gain is expected here: what was given leaves the step out, not the lack of an expert."""
    async with Client(server) as client:
        wish = wish | {"experts": "lanczos_2x", "size": "2x"}
        reply = facts(await call(client, "restore_to_4k", image="noisy.jpg", findings="noise high", **wish))
    assert reply["left"] == "noise (high): the given plan leaves denoising out"


async def test_a_plan_has_no_measurements(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        plan = (await call(client, "plan_restoration", image="noisy.jpg")).structured_content or {}
        found = (await call(client, "reason_degradations", image="noisy.jpg")).structured_content or {}
    assert all("measurements" not in finding for finding in plan["findings"])
    assert any("measurements" in finding for finding in found["findings"])


@pytest.mark.parametrize("given", ["2x", "x2", "2", 2, "2 times"])
async def test_a_scale_is_understood_as_people_write_it(
    server: MCPServer[Any], photos: Any, facts: Any, given: object
) -> None:
    async with Client(server) as client:
        reply = facts(await call(client, "super_resolve", image="noisy.jpg", scale=given, expert="lanczos_2x"))
        ran = await call(
            client, "run_candidates", image="noisy.jpg", task="upscale", scale=given, experts="lanczos_2x"
        )
    assert reply["image"].endswith(" 192x160")
    assert not ran.is_error


@pytest.mark.parametrize(
    ("tool", "wish", "message"),
    [
        ("restore_to_4k", {"image": "nosiy.jpg"}, "did you mean noisy.jpg?"),
        ("look", {"image": "noisy.png"}, "noisy.jpg"),
        ("denoise", {"image": "sub/clean.png"}, "did you mean clean.png?"),
        ("restore_to_4k", {"image": "zzz.png"}, "check the path"),
        ("restore_to_4k", {"image": "noisy.jpg", "size": "16K"}, "size: '16K' is not a size; give "),
        ("denoise", {"image": "noisy.jpg", "strength": "much"}, "strength: 'much' is not from 0 to 1"),
        ("super_resolve", {"image": "noisy.jpg", "expert": "lanczos_2x"}, "give scale 2, or choose one of"),
        ("denoise", {"image": "noisy.jpg", "expert": "lanczos_2x"}, "; choose one of: "),
        ("look", {"image": "/etc/hosts"}, "a data: URI"),
        ("look", {"image": "https://example.com/a.png"}, "a data: URI"),
    ],
)
async def test_a_refusal_names_the_value_and_what_works(
    server: MCPServer[Any], photos: Any, tool: str, wish: dict[str, Any], message: str
) -> None:
    async with Client(server) as client:
        refused = await call(client, tool, **wish)
    assert refused.is_error
    text = refused.content[0].text  # type: ignore[union-attr]
    assert message in text
    assert "Value error" not in text
