"""Every tool once, in both eras of the protocol. The client checks each answer against the tool's output schema."""

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
from server.schemas import (
    CandidatesReport,
    Comparison,
    DegradationReport,
    ExpertList,
    PlanReport,
    ProfileList,
    QualityReport,
    RestorationReport,
    StepReport,
)

pytestmark = pytest.mark.anyio
MOST_CHARACTERS = 200_000
"""Of a reply: clients cut off at about a megabyte."""


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def call(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert len(result.model_dump_json()) < MOST_CHARACTERS
    return result


def thumbnails(result: CallToolResult) -> list[bytes]:
    return [base64.b64decode(block.data) for block in result.content if isinstance(block, ImageContent)]


async def test_restore_to_4k_saves_a_file_and_links_that_resolve(
    server: MCPServer[Any], photos: Any, mode: str
) -> None:
    async with Client(server, mode=mode) as client:
        result = await call(client, "restore_to_4k", image={"path": str(photos.noisy)}, long_side=256)
        report = RestorationReport.model_validate(result.structured_content)
        with PIL.Image.open(report.file) as picture:
            assert picture.size == (256, 213) == (report.image.width, report.image.height)
        links = [block for block in result.content if isinstance(block, ResourceLink)]
        assert [link.mime_type for link in links] == ["image/png", "text/html"]
        for link in links:
            contents = (await client.read_resource(link.uri)).contents
            assert contents[0].mime_type == link.mime_type
        trace = await client.read_resource(f"run://{report.run}/trace")
        assert '"event":"finished"' in trace.contents[0].text
    assert len(thumbnails(result)) == 1


async def test_restore_to_4k_keeps_the_callers_budget(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        arguments = {"image": {"path": str(photos.noisy)}, "long_side": 192}
        result = await call(client, "restore_to_4k", **arguments, max_expert_runs=1, max_seconds=600)
    report = RestorationReport.model_validate(result.structured_content)
    assert report.image.width == 192
    assert any("the budget of 1 expert runs is spent" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (
            {"max_seconds": 1e-6, "findings": []},
            "only resized, since the budget was spent before super_resolution 2x",
        ),
        ({"max_expert_runs": 1, "plan": ["denoising", "super_resolution"]}, "spent before super_resolution 2x"),
        ({"plan": []}, "left as it was, since the plan has no step"),
        ({"plan": ["face_restoration"]}, "left as it was, since no step of the plan made it better"),
    ],
)
async def test_restore_to_4k_says_why_little_or_nothing_was_done(
    server: MCPServer[Any], photos: Any, wish: dict[str, Any], told: str
) -> None:
    async with Client(server) as client:
        result = await call(client, "restore_to_4k", image={"path": str(photos.noisy)}, scale=2, **wish)
    assert told in RestorationReport.model_validate(result.structured_content).summary


async def test_the_text_of_an_answer_says_all_that_its_structure_says(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        result = await call(client, "analyze_quality", image={"path": str(photos.noisy)})
    assert isinstance(result.content[0], TextContent)
    text = QualityReport.model_validate_json(result.content[0].text)
    assert text == QualityReport.model_validate(result.structured_content)


@pytest.mark.parametrize("tool", [tool.name for tool in TASK_TOOLS])
async def test_each_task_tool_answers_with_an_image_of_the_same_size(
    server: MCPServer[Any], photos: Any, tool: str
) -> None:
    async with Client(server) as client:
        result = await call(client, tool, image={"path": str(photos.noisy)})
    report = StepReport.model_validate(result.structured_content)
    assert (report.image.width, report.image.height) == (96, 80)
    assert (report.file is None) == (report.expert == "keep_input")
    assert len(report.verdicts) >= 2 or (tool == "restore_faces" and "no face was found" in report.summary)


async def test_restore_faces_changes_the_face_and_says_what_became_of_it(
    server: MCPServer[Any], photos: Any, photo: Image
) -> None:
    file = photos.noisy.with_name("portrait.png")
    noise = np.random.default_rng(0).normal(0, 0.09, (256, 256, 3))
    face = to_numpy(photo.pixels)[:256, 96:352] + noise
    PIL.Image.fromarray(to_uint8(np.clip(face, 0, 1).astype(np.float32))).save(file)
    async with Client(server) as client:
        best = await call(client, "restore_faces", image={"path": str(file)})
        named = await call(client, "restore_faces", image={"path": str(file)}, expert="face_clean_sharpen")
    for result, experts in ((best, None), (named, {"keep_input", "face_clean_sharpen"})):
        report = StepReport.model_validate(result.structured_content)
        assert report.faces is not None
        assert report.faces.faces
        tried = {verdict.expert for verdict in report.faces.faces[0].verdicts}
        assert tried == experts if experts else len(tried) >= 4
        assert report.improved
        assert report.file


async def test_restore_faces_compares_with_the_original_that_is_given(
    server: MCPServer[Any], photos: Any, photo: Image
) -> None:
    portrait = PIL.Image.fromarray(to_uint8(to_numpy(photo.pixels)[:256, 96:352]))
    blurred, original = photos.folder / "blurred.png", photos.folder / "original.png"
    portrait.filter(PIL.ImageFilter.GaussianBlur(9)).save(blurred)
    portrait.save(original)
    async with Client(server) as client:
        found = [
            StepReport.model_validate((await call(client, "restore_faces", **arguments)).structured_content).faces
            for arguments in (
                {"image": {"path": str(blurred)}},
                {"image": {"path": str(blurred)}, "original": {"path": str(original)}},
            )
        ]
        cut = {"image": {"path": str(blurred)}, "original": {"path": str(photos.clean)}}
        refused = await client.call_tool("restore_faces", cut)
    assert [[face.found_in for face in work.faces] for work in found if work] == [[], ["original"]]
    assert refused.is_error


async def test_a_named_expert_is_taken_even_where_the_input_is_better(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        experts = ExpertList.model_validate((await call(client, "list_experts", task="denoising")).structured_content)
        name = experts.experts[0].name
        result = await call(client, "denoise", image={"path": str(photos.clean)}, expert=name)
    report = StepReport.model_validate(result.structured_content)
    assert report.expert == name
    assert report.file is not None
    assert Path(report.file).exists()


async def test_super_resolve_enlarges_by_its_scale(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        result = await call(client, "super_resolve", image={"path": str(photos.clean)}, scale=2)
    report = StepReport.model_validate(result.structured_content)
    assert (report.image.width, report.image.height) == (192, 160)


async def test_steps_chain_by_handle(server: MCPServer[Any], photos: Any, mode: str) -> None:
    async with Client(server, mode=mode) as client:
        image = {"path": str(photos.noisy)}
        for tool, arguments in (("denoise", {}), ("super_resolve", {"scale": 2}), ("analyze_quality", {})):
            result = await call(client, tool, image=image, **arguments)
            image = {"handle": result.structured_content["image"]["handle"]}
    assert QualityReport.model_validate(result.structured_content).image.width == 192


async def test_results_of_every_step_are_called_after_the_photo(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        tried = await call(
            client, "run_candidates", image={"path": str(photos.noisy)}, task="denoising", experts=["nlm_denoise"]
        )
        handle = next(
            one["handle"]
            for one in tried.structured_content["candidates"]
            if one["verdict"]["expert"] == "nlm_denoise"
        )
        chosen = await call(client, "select_best", candidates=[handle])
        image = {"handle": chosen.structured_content["image"]["handle"]}
        enlarged = await call(client, "super_resolve", image=image, scale=2, expert="lanczos_2x")
        image = {"handle": enlarged.structured_content["image"]["handle"]}
        finished = await call(client, "finish_restoration", image=image, width=192, height=160)
    names = [Path(step.structured_content["file"]).name for step in (chosen, enlarged, finished)]
    assert names == ["noisy_denoising.png", "noisy_super_resolve.png", "noisy_restored.png"]


async def test_candidates_are_judged_and_the_best_or_the_chosen_one_is_settled_on(
    server: MCPServer[Any], photos: Any
) -> None:
    async with Client(server) as client:
        result = await call(client, "run_candidates", image={"path": str(photos.noisy)}, task="denoising")
        judged = CandidatesReport.model_validate(result.structured_content)
        handles = [candidate.handle for candidate in judged.candidates if candidate.handle]
        assert len(handles) >= 3
        best = await call(client, "select_best", candidates=handles)
        chosen = await call(client, "select_best", candidates=handles, choice=handles[-1])
    scores = [candidate.verdict.score for candidate in judged.candidates]
    assert scores == sorted(scores, reverse=True)
    assert StepReport.model_validate(best.structured_content).expert == judged.candidates[0].verdict.expert
    assert StepReport.model_validate(chosen.structured_content).expert == judged.candidates[-1].verdict.expert


async def test_candidates_come_with_one_sheet_that_shows_them_all(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        result = await call(client, "run_candidates", image={"path": str(photos.noisy)}, task="denoising")
    judged = CandidatesReport.model_validate(result.structured_content)
    (sheet,) = thumbnails(result)
    with PIL.Image.open(io.BytesIO(sheet)) as picture:
        cells = (picture.width * picture.height) / (96 * 96)
    assert cells >= len([candidate for candidate in judged.candidates if candidate.handle])


async def test_previews_have_a_detail_in_its_own_pixels_where_the_photo_is_large(
    server: MCPServer[Any], photos: Any
) -> None:
    with PIL.Image.open(photos.noisy) as picture:
        picture.resize((1600, 1333)).save(photos.folder / "large.png")
    async with Client(server) as client:
        small = await call(client, "reason_degradations", image={"path": str(photos.noisy)})
        large = await call(client, "reason_degradations", image={"path": "large.png"})
    assert len(thumbnails(small)) == 1
    sizes = [PIL.Image.open(io.BytesIO(data)).size for data in thumbnails(large)]
    assert sizes == [(512, 427), (256, 256)]


HAZE = {"degradation": "haze", "severity": "high"}


async def test_the_caller_plans_by_its_own_findings(server: MCPServer[Any], photos: Any) -> None:
    image = {"path": str(photos.noisy)}
    async with Client(server) as client:
        found = await call(
            client, "plan_restoration", image=image, scale=2, findings=[HAZE], description="A foggy harbour."
        )
        clean = await call(client, "plan_restoration", image=image, scale=2, findings=[])
    plan = PlanReport.model_validate(found.structured_content)
    assert [step.task for step in plan.steps] == ["dehazing", "super_resolution"]
    assert (plan.diagnosis.by, plan.diagnosis.description) == ("caller", "A foggy harbour.")
    assert [step["task"] for step in clean.structured_content["steps"]] == ["super_resolution"]


async def test_the_callers_own_plan_is_completed_and_carried_out(server: MCPServer[Any], photos: Any) -> None:
    arguments = {"image": {"path": str(photos.noisy)}, "scale": 2}
    order = ["deraining", "super_resolution", "denoising"]
    async with Client(server) as client:
        planned = await call(client, "plan_restoration", plan=order, **arguments)
        restored = await call(client, "restore_to_4k", plan=order, findings=[HAZE], **arguments)
    plan = PlanReport.model_validate(planned.structured_content)
    assert [step.task for step in plan.steps] == order
    assert all(step.experts for step in plan.steps)
    report = RestorationReport.model_validate(restored.structured_content)
    assert [step.step for step in report.steps] == ["deraining", "super_resolution 2x", "denoising"]
    assert report.model_use.calls == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"findings": [{"degradation": "watermark", "severity": "high"}]},
        {"findings": [{"degradation": "haze", "severity": "awful"}]},
        {"findings": [HAZE, HAZE]},
        {"findings": "haze"},
        {"description": "only words"},
        {"plan": ["delete_all_files"]},
        {"plan": ["denoising"] * 50},
    ],
)
async def test_findings_and_plans_are_only_taken_in_the_words_of_the_schema(
    server: MCPServer[Any], photos: Any, wrong: dict[str, Any]
) -> None:
    async with Client(server) as client:
        for tool in ("plan_restoration", "restore_to_4k"):
            result = await client.call_tool(tool, {"image": {"path": str(photos.noisy)}, **wrong})
            assert result.is_error


async def test_a_profile_that_asks_for_a_model_that_is_not_there_says_what_to_set(
    server: MCPServer[Any], photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESTORE4K_LLM_URL", raising=False)
    monkeypatch.delenv("RESTORE4K_VLM", raising=False)
    async with Client(server) as client:
        result = await call(client, "plan_restoration", image={"path": str(photos.noisy)}, profile="ExpSR-s4-F")
    plan = PlanReport.model_validate(result.structured_content)
    assert any("RESTORE4K_LLM_URL" in warning for warning in plan.warnings)
    assert plan.diagnosis.by == "rules"


async def test_select_best_agrees_with_the_task_tool(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        picture = {"path": str(photos.noisy)}
        denoised = StepReport.model_validate((await call(client, "denoise", image=picture)).structured_content)
        ran = [verdict.expert for verdict in denoised.verdicts if verdict.expert != "keep_input"]
        result = await call(client, "run_candidates", image=picture, task="denoising", experts=ran)
        handles = [entry["handle"] for entry in result.structured_content["candidates"]]
        selected = await call(client, "select_best", candidates=handles)
    chosen = StepReport.model_validate(selected.structured_content)
    assert len(ran) > 1
    assert (chosen.expert, chosen.image) == (denoised.expert, denoised.image)


async def test_candidates_of_different_steps_cannot_be_compared(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        handles = []
        for task in ("denoising", "dehazing"):
            result = await call(client, "run_candidates", image={"path": str(photos.clean)}, task=task)
            handles.append(result.structured_content["candidates"][0]["handle"])
        mixed = await client.call_tool("select_best", {"candidates": handles})
        image = await call(client, "analyze_quality", image={"path": str(photos.clean)})
        stranger = await client.call_tool(
            "select_best", {"candidates": [image.structured_content["image"]["handle"]]}
        )
    assert mixed.is_error
    assert stranger.is_error


async def test_degradations_and_plan_name_the_noise(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        found = await call(client, "reason_degradations", image={"path": str(photos.noisy)})
        planned = await call(client, "plan_restoration", image={"path": str(photos.noisy)}, scale=2)
    findings = DegradationReport.model_validate(found.structured_content).diagnosis.findings
    assert "noise" in [finding.degradation for finding in findings if finding.present]
    plan = PlanReport.model_validate(planned.structured_content)
    assert "denoising" in [step.task for step in plan.steps]
    assert (plan.final_width, plan.final_height) == (192, 160)


@pytest.mark.parametrize("tool", ["analyze_quality", "reason_degradations"])
async def test_what_is_hidden_behind_transparency_is_not_judged(
    server: MCPServer[Any], photos: Any, tool: str
) -> None:
    picture = np.dstack([np.asarray(PIL.Image.open(photos.clean)), np.full((80, 96), 255, np.uint8)])
    picture[:, 60:, 3] = 0
    told = []
    async with Client(server) as client:
        for hidden in (0, 255):
            picture[:, 60:, :3] = hidden
            PIL.Image.fromarray(picture).save(photos.folder / "cut_out.png")
            result = await call(client, tool, image={"path": str(photos.folder / "cut_out.png")})
            told.append({**(result.structured_content or {}), "image": None})
    assert told[0] == told[1]


async def test_comparing_gives_fidelity_only_where_sizes_are_equal(server: MCPServer[Any], photos: Any) -> None:
    clean, noisy = {"path": str(photos.clean)}, {"path": str(photos.noisy)}
    async with Client(server) as client:
        same = await call(client, "compare_images", first=clean, second=noisy)
        larger = await call(client, "super_resolve", image=clean, scale=2)
        handle = larger.structured_content["image"]["handle"]
        other = await call(client, "compare_images", first=clean, second={"handle": handle})
    fidelity = Comparison.model_validate(same.structured_content).full_reference
    assert fidelity is not None
    assert 15 < fidelity["psnr"] < 35
    assert len(thumbnails(same)) == 1
    assert Comparison.model_validate(other.structured_content).full_reference is None


async def test_compared_images_are_shown_on_white(server: MCPServer[Any], photos: Any) -> None:
    clear = PIL.Image.open(photos.clean).convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 96, 20))
    clear.save(photos.folder / "clear.png")
    image = {"path": str(photos.folder / "clear.png")}
    async with Client(server) as client:
        result = await call(client, "compare_images", first=image, second=image)
    with PIL.Image.open(io.BytesIO(thumbnails(result)[0])) as shown:
        assert min(shown.convert("L").crop((0, 0, shown.width, 15)).tobytes()) > 240


async def test_lists_show_every_expert_and_profile(server: MCPServer[Any]) -> None:
    async with Client(server) as client:
        experts = ExpertList.model_validate((await call(client, "list_experts")).structured_content)
        profiles = ProfileList.model_validate((await call(client, "list_profiles")).structured_content)
    assert {"denoising", "super_resolution"} <= {card.task for card in experts.experts}
    assert {one.state for one in experts.experts} <= {"embedded", "ready"}
    assert {"default", "Gen4K-P"} <= {profile.name for profile in profiles.profiles}


async def test_experts_that_cannot_run_yet_say_what_to_do(server: MCPServer[Any]) -> None:
    async with Client(server) as client:
        result = await call(client, "list_experts", task="dehazing", include_missing=True)
        short = await call(client, "list_experts", task="dehazing")
    experts = {one.name: one for one in ExpertList.model_validate(result.structured_content).experts}
    assert experts["ridcp"].state == "not available"
    assert "mixdehazenet_outdoor" in experts["ridcp"].advice
    assert experts["maxim_dehaze"].state in ("by hand", "needs extra")
    assert experts["learned_transmission_map"].state == "embedded"
    left_out = ExpertList.model_validate(short.structured_content)
    assert left_out.not_shown == len(experts) - len(left_out.experts) > 0


async def test_naming_an_expert_does_not_get_round_its_licence(server: MCPServer[Any], photos: Any) -> None:
    async with Client(server) as client:
        arguments = {"image": {"path": str(photos.clean)}, "expert": "restormer_derain"}
        result = await client.call_tool("derain", arguments)
    assert result.is_error
    assert "forbids commercial use" in result.content[0].text


async def test_an_image_may_come_as_data(server: MCPServer[Any], photos: Any) -> None:
    data = base64.b64encode(photos.clean.read_bytes()).decode()
    async with Client(server) as client:
        plain = await call(client, "analyze_quality", image={"data": data})
        url = await call(client, "analyze_quality", image={"data": f"data:image/png;base64,{data}"})
        path = await call(client, "analyze_quality", image={"path": str(photos.clean)})
    assert plain.structured_content == url.structured_content == path.structured_content


async def test_results_never_replace_a_file(server: MCPServer[Any], photos: Any) -> None:
    arguments = {"image": {"path": str(photos.clean)}, "scale": 2}
    async with Client(server) as client:
        files = [
            StepReport.model_validate((await call(client, "super_resolve", **arguments)).structured_content).file
            for _ in range(2)
        ]
    assert files[0] != files[1]


async def test_a_large_image_is_read_as_a_preview(server: MCPServer[Any], photos: Any, tmp_path: Path) -> None:
    with PIL.Image.open(photos.noisy) as picture:
        picture.resize((2400, 2000), PIL.Image.Resampling.NEAREST).save(photos.folder / "large.png")
    async with Client(server) as client:
        result = await call(client, "analyze_quality", image={"path": "large.png"})
        contents = (await client.read_resource(f"image://{result.structured_content['image']['handle']}")).contents
    (tmp_path / "preview.png").write_bytes(base64.b64decode(contents[0].blob))
    with PIL.Image.open(tmp_path / "preview.png") as preview:
        assert max(preview.size) == 1024
