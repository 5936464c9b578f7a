"""The main job: from a file to a restored file, whatever the experts do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.events import Event
from agent.run import restore_file
from agent.state import KEEP_INPUT
from imaging.convert import from_numpy
from imaging.errors import OutputExists
from imaging.reading import read_image
from imaging.resizing import resize
from tests.agent.scripted import (
    CLEAN,
    PLAIN_2X,
    ScriptedExpert,
    ScriptedPool,
    crash,
    enlarge,
    expert,
    profile,
    ruin,
    run,
    trace,
    truth,
    winners,
)
from toolbox.pool import ExpertPool
from toolbox.tasks import Task


def test_the_better_expert_wins_and_every_candidate_has_a_verdict(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool)
    assert winners(restoration) == ["ideal", "plain_2x"]
    assert {verdict.expert for verdict in restoration.path_taken()[1].verdicts} == {KEEP_INPUT, "ruin", "ideal"}


def test_the_result_has_the_promised_size_and_is_what_the_experts_made(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    result = read_image(run(noisy_file, profile(), pool).output)
    assert (result.width, result.height) == (256, 256)
    wanted = resize(from_numpy(CLEAN), 256, 256)
    assert float((result.pixels - wanted).abs().mean()) < 1 / 255


def test_the_longer_side_is_brought_to_exactly_what_was_asked(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("plain_4x", Task.SUPER_RESOLUTION, enlarge(4), 4), PLAIN_2X)
    wanted = profile(scale_factor=None, long_side=300, restore_option="super-resolution")
    result = read_image(run(noisy_file, wanted, pool).output)
    assert (result.width, result.height) == (300, 300)


def test_an_expert_that_the_profile_names_does_its_task_whatever_the_scores_say(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(experts=["ruin"]), pool)
    assert winners(restoration) == ["ruin", "plain_2x"]
    first = restoration.path_taken()[1]
    assert {verdict.expert for verdict in first.verdicts} == {KEEP_INPUT, "ruin"}
    assert not first.failed


def test_an_image_that_no_expert_improves_is_kept(noisy_file: Path) -> None:
    restoration = run(noisy_file, profile(), ScriptedPool(expert("ruin", Task.DENOISING, ruin), PLAIN_2X))
    assert winners(restoration) == [KEEP_INPUT, "plain_2x"]
    kept = resize(read_image(noisy_file).pixels, 256, 256)
    assert float((read_image(restoration.output).pixels - kept).abs().max()) <= 1 / 255


def test_an_expert_that_crashes_is_an_entry_in_the_trace_and_not_the_end(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("crash", Task.DENOISING, crash), expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool)
    assert winners(restoration)[0] == "ideal"
    errors = [verdict.error for verdict in restoration.path_taken()[1].verdicts if verdict.expert == "crash"]
    assert errors[0] is not None
    assert "out of luck" in errors[0]


def test_when_every_enlarger_fails_the_result_is_a_plain_resize(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("crash", Task.SUPER_RESOLUTION, crash, 2))
    result = read_image(run(noisy_file, profile(restore_option="super-resolution"), pool).output)
    assert (result.width, result.height) == (256, 256)


def test_a_spent_budget_gives_the_best_result_so_far_in_full_size(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(max_expert_runs=1), pool)
    assert pool.calls == ["ideal"]
    assert read_image(restoration.output).width == 256
    assert any("budget" in warning for warning in restoration.state.warnings)


def test_no_more_experts_run_than_the_budget_allows(noisy_file: Path) -> None:
    pool = ScriptedPool(*(expert(f"ideal_{n}", Task.DENOISING, truth) for n in range(3)), PLAIN_2X)
    restoration = run(noisy_file, profile(max_expert_runs=2), pool)
    assert pool.calls == ["ideal_0", "ideal_1"]
    assert winners(restoration) == ["ideal_0"]


def test_no_step_starts_after_the_time_limit_and_the_size_is_exact(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(max_seconds=1e-6), pool)
    assert pool.calls == []
    assert read_image(restoration.output).width == 256
    assert any("the budget of 1e-06 seconds" in warning for warning in restoration.state.warnings)


def test_an_expert_of_a_forbidden_licence_is_not_run(noisy_file: Path) -> None:
    ideal = expert("ideal", Task.DENOISING, truth)
    forbidden = ScriptedExpert(ideal.card.model_copy(update={"commercial": "no"}), truth)
    other = expert("ruin", Task.DENOISING, ruin)
    run(noisy_file, profile(), pool := ScriptedPool(forbidden, other, PLAIN_2X))
    assert "ideal" not in pool.calls
    run(noisy_file, profile(non_commercial=True), pool, overwrite=True)
    assert "ideal" in pool.calls


def test_an_existing_result_is_refused_before_any_work(noisy_file: Path) -> None:
    (noisy_file.parent / "out.png").write_bytes(b"precious")
    pool = ScriptedPool(PLAIN_2X)
    with pytest.raises(OutputExists):
        run(noisy_file, profile(), pool)
    assert (noisy_file.parent / "out.png").read_bytes() == b"precious"
    assert pool.calls == []


def test_a_finished_run_keeps_trace_and_report_but_no_images(noisy_file: Path) -> None:
    events: list[Event] = []
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool, listener=events.append)
    names = [event.event for event in events if event.event != "progress"]
    assert [event.event for event in trace(restoration.folder)] == names
    assert names[0] == "started"
    assert names[-1] == "finished"
    assert restoration.report.stat().st_size > 1000
    assert "no picture" not in restoration.report.read_text("utf-8")
    assert not list((restoration.folder / "nodes").iterdir())


def test_progress_never_goes_back_and_ends_at_one(noisy_file: Path) -> None:
    events: list[Event] = []
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.DEHAZING, truth), PLAIN_2X)
    run(noisy_file, profile(restore_option="denoising+dehazing"), pool, listener=events.append)
    fractions = [event.fraction for event in events if event.event == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_the_parts_of_the_time_add_up(noisy_file: Path) -> None:
    started = time.perf_counter()
    restoration = run(noisy_file, profile(), ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X))
    assert 0 < sum(restoration.state.seconds.values()) <= time.perf_counter() - started
    assert {"reading", "perception", "experts", "scoring", "writing"} <= set(restoration.state.seconds)


def test_another_profile_frees_the_experts_that_it_will_not_use(noisy_file: Path) -> None:
    pool = ExpertPool()
    only_enlarge = {"restore_option": "super_resolution"}
    for number, preference in enumerate(("perception", "fidelity")):
        wanted = profile(restore_preference=preference, **only_enlarge)
        output = noisy_file.parent / f"{number}.png"
        restore_file(noisy_file, output, wanted, runs=noisy_file.parent / "runs", experts=pool)
        experts = {card.name: card for card in pool.catalogue}
        kept = {experts[name].preference for name in pool.loaded() if name in experts}
        assert kept <= {preference, "any"}
        assert ("perception" in kept) == (preference == "perception")
