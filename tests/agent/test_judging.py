"""Selection of a candidate: the best score; among ties the most consistent, then the cheapest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch

from agent.judging import Candidate, Judge, Selection
from agent.state import Step, Verdict
from imaging.convert import FloatArray, from_numpy, to_float
from imaging.image import Image
from imaging.resizing import resize
from iqa.candidate_score import own_error
from iqa.expected_gain import expected_gains, prior_by_gain
from iqa.features import extract_features
from iqa.quality import combine
from profiles.schema import Profile
from tests.agent.scripted import step_context
from toolbox.card import ClassicalCard
from toolbox.catalogue import Catalogue
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.degradations import gaussian_noise
from training.data.failure_modes import FAILURES

CARD = ClassicalCard(
    name="unheard_of", task=Task.DENOISING, loader="classical", function="none:none", about="", source=""
)

PIXEL = Image(torch.zeros(3, 1, 1))


def picture(pixels: FloatArray) -> Image:
    return Image(from_numpy(np.clip(pixels, 0, 1).astype(np.float32)))


def judge_of(before: FloatArray, step: Step) -> Judge:
    return Judge(step_context(picture(before), step, Profile(name="test"), ExpertPool(Catalogue(()))))


def candidate(expert: str, score: float, image: Image | None = PIXEL, **more: Any) -> Candidate:
    return Candidate(Verdict(expert=expert, score=score, **more), image)


def winner(*candidates: Candidate) -> str:
    selection = Selection()
    for one in candidates:
        selection.add(one)
    return selection.winner.verdict.expert if selection.winner else "nobody"


@pytest.mark.parametrize(("cleaned", "untouched", "smeared"), [(9, 1, {"net"}), (1, 9, set()), (1, 1, set())])
def test_only_detail_that_cleaning_took_away_counts(cleaned: int, untouched: int, smeared: set[str]) -> None:
    """More detail after cleaning may be what a denoiser has left along edges."""
    sharp = from_numpy(to_float(skimage.data.astronaut()[:288, :288]))[None]
    selection = Selection(compares_detail=True)
    for name, blur in (("net", cleaned), ("net.untouched", untouched), ("other", 9)):
        image = Image(torch.nn.functional.avg_pool2d(sharp, blur, 1, blur // 2)[0])
        selection.add(Candidate(Verdict(expert=name, score=0.5), image, features=extract_features(image)))
    assert selection.smeared == smeared


@pytest.mark.parametrize("first", [True, False])
def test_a_clear_lead_wins_over_faithfulness(first: bool) -> None:
    bold = candidate("bold", 0.7, consistency=0.5)
    shy = candidate("shy", 0.7 - 2 * own_error() - 1e-3, consistency=1.0)
    assert winner(*((bold, shy) if first else (shy, bold))) == "bold"


def test_a_lead_within_the_judges_error_goes_to_the_more_faithful() -> None:
    assert own_error() > 0
    margin = own_error() / 2
    assert (
        winner(candidate("bold", 0.7, consistency=0.8), candidate("true", 0.7 - margin, consistency=0.95)) == "true"
    )


def test_of_equally_faithful_ones_the_cheaper_wins() -> None:
    network = candidate("network", 0.7, consistency=0.9, cost=2)
    classical = candidate("classical", 0.7 - own_error() / 2, consistency=0.9, cost=1)
    assert winner(network, classical) == "classical"


def test_the_tie_is_with_the_best_of_all_and_not_with_the_last_one_ahead() -> None:
    step = 0.8 * own_error()
    chain = [candidate(str(n), 0.7 - n * step, consistency=0.5 + 0.1 * n) for n in range(4)]
    assert winner(*chain) == "1"
    assert winner(*reversed(chain)) == "1"


def test_without_an_image_no_candidate_wins() -> None:
    prescreened = candidate("prescreened", 0.9, image=None)
    assert winner(prescreened) == "nobody"
    assert winner(prescreened, candidate("run", 0.2)) == "run"


def test_the_lead_is_that_over_the_second() -> None:
    selection = Selection()
    assert selection.margin is None
    selection.add(candidate("only", 0.5))
    assert selection.margin is None
    selection.add(candidate("better", 0.8))
    selection.add(candidate("worse", 0.1))
    assert selection.margin == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_clean_beats_clean_in_other_colours(name: str) -> None:
    pixels = to_float(getattr(skimage.data, name)()[:300, :300])
    noisy = gaussian_noise(pixels, np.random.default_rng(0), 25)
    judge = judge_of(noisy, Step(task=Task.DENOISING))
    clean, *others = (
        judge.evaluate(CARD, picture(pixels * np.float32(gains)), seconds=0).verdict.score
        for gains in ([1, 1, 1], [1, 0.8, 0.55], [0.6, 0.8, 1], [1, 0.7, 1])
    )
    assert clean > max(others)


@pytest.fixture(scope="module")
def noisy_astronaut() -> tuple[FloatArray, Judge]:
    pixels = to_float(skimage.data.astronaut()[:300, 100:400])
    noisy = gaussian_noise(pixels, np.random.default_rng(0), 25)
    return pixels, judge_of(noisy, Step(task=Task.DENOISING))


@pytest.mark.parametrize("failure", FAILURES)
def test_clean_beats_clean_with_a_known_failure(failure: str, noisy_astronaut: tuple[FloatArray, Judge]) -> None:
    pixels, judge = noisy_astronaut
    damaged = FAILURES[failure](pixels, np.random.default_rng(0))
    assert (
        judge.evaluate(CARD, picture(pixels), seconds=0).verdict.score
        > judge.evaluate(CARD, picture(damaged), seconds=0).verdict.score
    )


def test_which_enlarging_expert_is_trusted_depends_on_noise() -> None:
    small = resize(from_numpy(to_float(skimage.data.astronaut())), 256, 256).permute(1, 2, 0).numpy()[:128, 50:178]
    priors = {}
    for name, pixels in (("clean", small), ("noisy", gaussian_noise(small, np.random.default_rng(0), 25))):
        judge = judge_of(pixels, Step(task=Task.SUPER_RESOLUTION, scale=4))
        larger = picture(np.kron(pixels, np.ones((4, 4, 1), np.float32)))
        cards = (CARD.model_copy(update={"name": f"restore4k_sr_x4{kind}"}) for kind in ("", "_real"))
        priors[name] = [judge.evaluate(card, larger, seconds=0).verdict.expert_prior for card in cards]
    assert priors["clean"][0] > priors["clean"][1]
    assert priors["noisy"][0] < priors["noisy"][1]


def test_the_prior_of_an_unknown_expert_lies_between_the_best_and_keeping_the_input(
    noisy_astronaut: tuple[FloatArray, Judge],
) -> None:
    pixels, judge = noisy_astronaut
    unknown = judge.evaluate(CARD, picture(pixels), seconds=0).verdict
    gains = expected_gains(extract_features(judge.evaluate_input().image or picture(pixels)), Task.DENOISING)
    assert CARD.name not in gains
    best = max(prior_by_gain(gains, name, 1.0) for name in gains)
    kept = judge.evaluate_input().verdict.expert_prior
    assert best == 0
    assert kept < unknown.expert_prior <= kept / 2 + 1e-6


def test_an_expert_that_changes_nothing_is_not_better_than_the_input(
    noisy_astronaut: tuple[FloatArray, Judge],
) -> None:
    """However much is expected of the expert."""
    _, judge = noisy_astronaut
    card = CARD.model_copy(update={"name": "restore4k_denoise"})
    kept = judge.evaluate_input()
    assert kept.image is not None
    idle = judge.evaluate(card, kept.image.with_pixels(kept.image.pixels.clone()), 1.0)
    assert idle.verdict.score == kept.verdict.score
    assert idle.verdict.cost == 1
    assert winner(kept, idle) == kept.verdict.expert


@pytest.mark.parametrize(("is_requested", "is_offered"), [(False, False), (True, True)])
def test_a_deconvolution_that_does_not_explain_its_input_is_offered_only_on_request(
    is_requested: bool, is_offered: bool
) -> None:
    sharp = to_float(skimage.data.astronaut()[:96, 150:246])
    step = Step(task=Task.MOTION_DEBLURRING)
    context = step_context(picture(sharp), step, Profile(name="test"), ExpertPool(Catalogue(())))
    judge = Judge(replace(context, is_requested=is_requested))
    ringing = picture(sharp + 0.2 * np.sin(np.arange(96, dtype=np.float32) * 2)[None, :, None])
    card = CARD.model_copy(update={"name": "blind_motion", "task": Task.MOTION_DEBLURRING})
    assert not expected_gains(context.features, Task.MOTION_DEBLURRING)["blind_motion"].is_clear
    offered = judge.evaluate(card, ringing, 0.1)
    assert (offered.image is not None) is is_offered
    assert is_offered or "consistency" in (offered.verdict.error or "")


@pytest.mark.parametrize("task", [Task.DENOISING, Task.JPEG_ARTIFACT_REMOVAL])
def test_niqe_ranks_cleaning_experts_only_if_nothing_else_is_known_of_them(task: Task) -> None:
    """It prefers what noise they leave."""
    pixels = to_float(skimage.data.coffee()[:256, :256])
    noise = np.random.default_rng(0).normal(scale=25 / 255, size=pixels.shape)
    judge = judge_of((pixels + noise).astype(np.float32), Step(task=task))
    known = {Task.DENOISING: "restore4k_denoise", Task.JPEG_ARTIFACT_REMOVAL: "restore4k_jpeg"}[task]
    qualities = {}
    for name in (known, CARD.name):
        card = CARD.model_copy(update={"name": name, "task": task})
        results = [picture((pixels + share * noise).astype(np.float32)) for share in (0.0, 0.1)]
        verdicts = [judge.evaluate(card, result, seconds=0).verdict for result in results]
        qualities[name] = [verdict.quality for verdict in verdicts]
        fidelities = [verdict.metrics["predicted_fidelity"] for verdict in verdicts]
    assert qualities[known] == pytest.approx(fidelities)
    assert qualities[CARD.name] == pytest.approx([combine(dict(verdict.metrics)) for verdict in verdicts])
    assert judge.evaluate_input().verdict.quality == pytest.approx(
        judge.evaluate_input().verdict.metrics["predicted_fidelity"]
    )
