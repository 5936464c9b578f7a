"""A blind enlarger competes on the untouched picture with the steps before the enlargement, where there is time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from agent.state import Step
from agent.step import run_step
from agent.step_context import StepContext
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.resizing import resize
from imaging.writing import write_image
from iqa.features import extract_features
from tests.agent.scripted import (
    CLEAN,
    NOISY,
    PLAIN_2X,
    ScriptedExpert,
    ScriptedPool,
    crash,
    enlarge,
    expert,
    profile,
    run,
    step_context,
    winners,
)
from toolbox.tasks import Degradation, Severity, Task
from training.data.degradations import mix

LARGE = resize(from_numpy(CLEAN), 256, 256)
PLEASING = {"restore_preference": "perception", "rollback": False}


def smooth(image: Image) -> Image:
    """A denoiser that takes the texture away too."""
    return image.with_pixels(resize(resize(image.pixels, 32, 32), 128, 128))


def blind(good_on: Callable[[Image], bool]) -> Callable[[Image], Image]:
    """An enlarger that gives the truth for the picture that it is good on."""
    return lambda image: image.with_pixels(LARGE if good_on(image) else resize(image.pixels, 256, 256))


def is_noisy(image: Image) -> bool:
    return float((image.pixels - from_numpy(NOISY)).abs().mean()) < 0.01


def is_halfway(image: Image) -> bool:
    half = (from_numpy(NOISY) + smooth(Image(from_numpy(NOISY))).pixels) / 2
    return float((image.pixels - half).abs().mean()) < 0.01


@pytest.mark.parametrize(
    ("good_on", "suffix"),
    [(is_noisy, ".untouched"), (is_halfway, ".half_cleaned"), (lambda image: not is_noisy(image), "")],
)
def test_the_best_of_the_untouched_the_half_cleaned_and_the_cleaned_picture_is_kept(
    good_on: Callable[[Image], bool], suffix: str, noisy_file: Path
) -> None:
    enlarger = expert("blind_2x", Task.SUPER_RESOLUTION, blind(good_on), 2, "perception")
    pool = ScriptedPool(expert("smooth", Task.DENOISING, smooth), PLAIN_2X, enlarger)
    restoration = run(noisy_file, profile(**PLEASING, keep_input=False), pool)
    assert winners(restoration) == ["smooth", f"blind_2x{suffix}"]
    tried = {verdict.expert for verdict in restoration.path_taken()[-1].verdicts}
    assert tried == {"plain_2x", "blind_2x", "blind_2x.untouched", "blind_2x.half_cleaned"}
    assert float((read_image(restoration.output).pixels - LARGE).abs().mean()) < 1 / 255


@pytest.mark.parametrize("path", [".untouched", ".half_cleaned", ""])
def test_a_named_path_is_taken(path: str, noisy_file: Path) -> None:
    """Whatever the scores say, also by an enlarger that is not blind; without cleaning there is one path only."""
    named = {"restore_option": None, "experts": ("smooth", f"plain_2x{path}")}
    pool = ScriptedPool(expert("smooth", Task.DENOISING, smooth), PLAIN_2X)
    cleaned = run(noisy_file, profile(**named, plan="denoising + super_resolution"), pool)
    assert winners(cleaned) == ["smooth", f"plain_2x{path}"]
    assert not cleaned.state.warnings
    alone = run(noisy_file, profile(**named, plan="super_resolution"), pool, overwrite=True)
    assert winners(alone) == ["plain_2x"]


@pytest.mark.parametrize(
    "keys",
    [{"restore_preference": "fidelity"}, {**PLEASING, "restore_option": None, "plan": "super_resolution"}],
    ids=["fidelity", "nothing cleaned"],
)
def test_otherwise_only_the_picture_as_it_is_is_enlarged(keys: dict[str, object], noisy_file: Path) -> None:
    enlarger = expert("blind_2x", Task.SUPER_RESOLUTION, blind(is_noisy), 2, "perception")
    pool = ScriptedPool(expert("smooth", Task.DENOISING, smooth), PLAIN_2X, enlarger)
    restoration = run(noisy_file, profile(**{"keep_input": False, **keys}), pool)
    assert all("." not in verdict.expert for verdict in restoration.path_taken()[-1].verdicts)


def test_a_classical_expert_that_sharpens_takes_no_part_in_a_blend(noisy_file: Path) -> None:
    faithful = expert("faithful", Task.SUPER_RESOLUTION, lambda image: image.with_pixels(LARGE * 0.8), 2, "fidelity")
    sharp = expert("sharp", Task.SUPER_RESOLUTION, enlarge(2), 2)
    card = sharp.card.model_copy(update={"preference": "perception"})
    pool = ScriptedPool(faithful, replace(sharp, card=card))
    for detail, ran in ((0.0, {"faithful"}), (0.3, {"faithful"}), (1.0, {"sharp"})):
        wanted = profile(restore_option=None, plan="super_resolution", detail=detail)
        done = run(noisy_file, wanted, pool, overwrite=True)
        assert {verdict.expert for verdict in done.path_taken()[-1].verdicts} == ran


@pytest.mark.parametrize("detail", [0.0, 0.25, 1.0])
def test_detail_blends_the_faithful_and_the_textured_result(detail: float, noisy_file: Path) -> None:
    dark = expert("faithful", Task.SUPER_RESOLUTION, lambda image: image.with_pixels(LARGE * 0.8), 2, "fidelity")
    light = expert("textured", Task.SUPER_RESOLUTION, lambda image: image.with_pixels(LARGE), 2, "perception")
    wanted = profile(restore_option=None, plan="super_resolution", detail=detail, grain=0)
    restoration = run(noisy_file, wanted, ScriptedPool(dark, light))
    ends = {0.0: ["faithful"], 0.25: ["faithful+textured"], 1.0: ["textured"]}
    assert winners(restoration) == ends[detail]
    assert float((read_image(restoration.output).pixels - LARGE * (0.8 + 0.2 * detail)).abs().mean()) < 1 / 255
    smooth_pixels = read_image(restoration.output).pixels
    grainy = run(noisy_file, wanted.model_copy(update={"grain": 1.0}), ScriptedPool(dark, light), overwrite=True)
    assert float((read_image(grainy.output).pixels - smooth_pixels).abs().mean()) > 0.01


@pytest.mark.parametrize(
    ("detail", "is_blind", "is_cleaned"),
    [(0.25, False, True), (0.25, True, False), (1.0, False, False)],
    ids=["blended", "blended, both blind", "texture alone"],
)
def test_blended_texture_is_generated_from_the_faithful_result_unless_both_are_blind(
    detail: float, is_blind: bool, is_cleaned: bool, noisy_file: Path
) -> None:
    """Other networks would make texture of noise and blocks that the faithful one removes."""
    seen = list[Image]()

    def texture(image: Image) -> Image:
        seen.append(image)
        return image.with_pixels(LARGE)

    faithful = expert("faithful", Task.SUPER_RESOLUTION, lambda image: image.with_pixels(LARGE * 0.8), 2, "fidelity")
    textured = expert("textured", Task.SUPER_RESOLUTION, texture, 2, "perception")
    experts = (replace(one, card=one.card.model_copy(update={"blind": is_blind})) for one in (faithful, textured))
    wanted = profile(restore_option=None, plan="super_resolution", detail=detail)
    assert winners(run(noisy_file, wanted, ScriptedPool(*experts)))[0].endswith("textured")
    reduced = resize(LARGE * 0.8, seen[-1].height, seen[-1].width)
    assert (float((seen[-1].pixels - reduced).abs().mean()) < 1e-3) == is_cleaned


@pytest.mark.parametrize(("texture", "winner"), [(LARGE * 0.6 + 0.2, "textured"), (None, "faithful")])
def test_where_texture_is_wanted_the_network_that_generates_it_is_kept_unless_it_fails(
    texture: torch.Tensor | None, winner: str, noisy_file: Path
) -> None:
    """Its colours are not those of the input, so that its score is lower."""
    faithful = expert("faithful", Task.SUPER_RESOLUTION, lambda image: image.with_pixels(LARGE), 2)
    function = crash if texture is None else lambda image: image.with_pixels(texture)
    textured = expert("textured", Task.SUPER_RESOLUTION, function, 2, "perception")
    wanted = profile(restore_option=None, plan="super_resolution", **PLEASING)
    restoration = run(noisy_file, wanted, ScriptedPool(faithful, textured))
    assert winners(restoration) == [winner]
    scores = {verdict.expert: verdict.score for verdict in restoration.path_taken()[-1].verdicts}
    assert scores["faithful"] > scores["textured"]


@pytest.mark.parametrize("streaks", [Degradation.RAIN, Degradation.MOTION_BLUR, None])
@pytest.mark.parametrize("detail", [1.0, 0.5])
def test_texture_that_looks_like_rain_or_motion_blur_is_rejected(
    detail: float, streaks: Degradation | None, noisy_file: Path
) -> None:
    """Networks generate needles from rain, and fur from motion blur."""
    texture = to_float(skimage.data.astronaut()[20:276, 150:406])
    if streaks:
        texture, _ = mix(texture, [streaks], np.random.default_rng(1), [Severity.HIGH])
    textured = expert(
        "textured", Task.SUPER_RESOLUTION, lambda image: image.with_pixels(from_numpy(texture)), 2, "perception"
    )
    wanted = profile(restore_option=None, plan="super_resolution", detail=detail)
    restoration = run(noisy_file, wanted, ScriptedPool(PLAIN_2X, textured))
    assert winners(restoration) == (["plain_2x"] if streaks else ["textured" if detail == 1 else "plain_2x+textured"])
    errors = {verdict.expert: verdict.error for verdict in restoration.path_taken()[-1].verdicts}["textured"]
    assert (errors or "").endswith(streaks.value.replace("_", " ") if streaks else "")
    named = wanted.model_copy(update={"experts": ("textured",)})
    assert winners(run(noisy_file, named, ScriptedPool(PLAIN_2X, textured), overwrite=True)) == ["textured"]


def test_rain_that_is_in_the_input_already_does_not_reject_texture(tmp_path: Path) -> None:
    """The enlargement of what looks like rain does, too: fur, grass, bars, or rain that every expert keeps."""
    rainy, _ = mix(CLEAN, [Degradation.RAIN], np.random.default_rng(1), [Severity.HIGH])
    source = tmp_path / "rainy.png"
    write_image(Image(from_numpy(np.clip(rainy, 0, 1))), source)
    textured = expert("textured", Task.SUPER_RESOLUTION, enlarge(2), 2, "perception")
    wanted = profile(restore_option=None, plan="super_resolution", detail=1.0)
    assert winners(run(source, wanted, ScriptedPool(PLAIN_2X, textured))) == ["textured"]


@pytest.mark.parametrize("texture", ["brick", "gravel", "grass"])
def test_an_enlargement_from_which_cleaning_took_the_texture_is_rejected(texture: str, tmp_path: Path) -> None:
    """Although it agrees best with the cleaned picture."""
    grey = to_float(getattr(skimage.data, texture)())[:256:2, :256:2]
    source = tmp_path / "fine.png"
    write_image(Image(from_numpy(np.stack([grey, grey, grey], -1))), source)
    enlarger = expert("blind_2x", Task.SUPER_RESOLUTION, enlarge(2), 2, "perception")
    pool = ScriptedPool(expert("smooth", Task.DENOISING, smooth), PLAIN_2X, enlarger)
    wanted = profile(**PLEASING, keep_input=False, fidelity_weight=1)
    last = run(source, wanted, pool).path_taken()[-1]
    assert last.expert in ("blind_2x.untouched", "blind_2x.half_cleaned")
    assert {verdict.expert: verdict.error for verdict in last.verdicts}[
        "blind_2x"
    ] == "cleaning took its texture away"


@pytest.mark.parametrize(
    ("keys", "winner"),
    [(PLEASING, "textured"), ({"detail": 0.5}, "plain_2x+textured"), ({"detail": 0.0}, "plain_2x")],
    ids=["perception", "half", "none"],
)
def test_on_a_large_picture_a_network_that_generates_texture_is_not_compared_with_one_that_does_not(
    keys: dict[str, object], winner: str, tmp_path: Path
) -> None:
    source, side = tmp_path / "large.png", 600
    write_image(Image(resize(from_numpy(CLEAN), side, side).clamp(0, 1)), source)
    pale = expert(
        "textured",
        Task.SUPER_RESOLUTION,
        lambda image: image.with_pixels(enlarge(2)(image).pixels * 0.6 + 0.2),
        2,
        "perception",
    )
    wanted = profile(restore_option=None, plan="super_resolution", **keys)
    assert winners(run(source, wanted, ScriptedPool(PLAIN_2X, pale))) == [winner]


class ReportingExpert(ScriptedExpert):
    """Reports all of its progress, as networks do."""

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        token.report(1.0)
        return self.function(image)


def test_progress_is_at_its_end_when_the_last_path_is(noisy_file: Path) -> None:
    noisy, reported, at_candidates = read_image(noisy_file), list[float](), list[float]()
    enlarger = expert("blind_2x", Task.SUPER_RESOLUTION, blind(is_noisy), 2, "perception")
    pool = ScriptedPool(ReportingExpert(enlarger.card, enlarger.function))
    context = StepContext(
        smooth(noisy),
        Step(task=Task.SUPER_RESOLUTION, scale=2),
        profile(**PLEASING),
        pool,
        extract_features(noisy),
        token=ProgressToken(reported.append),
        other_inputs={".untouched": noisy, ".half_cleaned": noisy},
    )
    run_step(context, pool.runnable(Task.SUPER_RESOLUTION, 2), observe=lambda _: at_candidates.append(reported[-1]))
    assert at_candidates == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(("other", "runs"), [("", 3), ("large_2x", 1)])
def test_a_small_network_enlarges_only_the_cleaned_picture(other: str, runs: int, noisy_file: Path) -> None:
    """It makes texture of noise and of JPEG blocks."""
    noisy = read_image(noisy_file)
    enlarger = expert("blind_2x", Task.SUPER_RESOLUTION, blind(is_noisy), 2, "perception")
    card = enlarger.card.model_copy(update={"stands_in_for": other})
    pool = ScriptedPool(replace(enlarger, card=card))
    context = step_context(
        smooth(noisy),
        Step(task=Task.SUPER_RESOLUTION, scale=2),
        profile(**PLEASING),
        pool,
        other_inputs={".untouched": noisy, ".half_cleaned": noisy},
    )
    assert len(run_step(context, pool.runnable(Task.SUPER_RESOLUTION, 2)).verdicts) == runs
