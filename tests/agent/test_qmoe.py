"""Which experts a step runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from skimage import data

from agent.expert_choice import candidates, shortlist
from agent.judging import Candidate
from agent.qmoe import PRESCREEN_CROPS, run_candidates
from agent.state import KEEP_INPUT, Step
from agent.step import experts_for
from imaging.convert import from_numpy, to_float, to_uint8
from imaging.device import DEVICE_VARIABLE, device_index, devices
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from iqa.expected_gain import AS_GOOD_DB, SHORTLIST_SIZE, expected_gains, is_probable
from iqa.features import extract_features
from iqa.patches import SIDE
from profiles.loading import load_profile
from tests.agent.scripted import step_context
from toolbox.card import ClassicalCard, ExpertCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.expert import Expert
from toolbox.network import NetworkExpert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.degradations import gaussian_noise, jpeg

STEP = Step(task=Task.DENOISING)
PICTURE = Image(torch.zeros(3, 8, 8))
NEW = ClassicalCard(
    name="unheard_of", task=Task.DENOISING, loader="classical", function="none:none", about="", source=""
)


@pytest.fixture
def pool() -> ExpertPool:
    return ExpertPool(Catalogue((*default_catalogue(), NEW)))


def noisy_coffee(sigma: float, quality: int | None) -> Image:
    noisy = gaussian_noise(to_float(data.coffee()[:256, :256]), np.random.default_rng(0), sigma)
    pixels = np.clip(noisy, 0, 1)
    return Image(from_numpy(to_float(to_uint8(jpeg(pixels, quality) if quality else pixels))))


@pytest.mark.parametrize(("sigma", "quality"), [(0, None), (25, None), (25, 15), (8, 60)])
def test_the_best_by_expected_gain_and_every_new_expert_run(
    pool: ExpertPool, sigma: float, quality: int | None
) -> None:
    profile = load_profile("default")
    cards = candidates(STEP, profile, pool)
    image = noisy_coffee(sigma, quality)
    features = extract_features(image)
    chosen = [card.name for card in shortlist(cards, profile, image, features)]
    gains = expected_gains(features, STEP.task)
    known = sorted({card.name for card in cards} & gains.keys(), key=lambda name: -gains[name].median_db)
    assert len(known) > SHORTLIST_SIZE
    assert chosen[0] == known[0]
    assert set(chosen) <= {NEW.name, *known[:SHORTLIST_SIZE]}
    assert chosen[-1] == NEW.name


def test_an_expert_that_is_expected_to_gain_much_less_is_not_run(pool: ExpertPool) -> None:
    profile = load_profile("default")
    cards = candidates(STEP, profile, pool)
    image = noisy_coffee(25, 15)
    features = extract_features(image)
    gains = expected_gains(features, STEP.task)
    chosen = {card.name for card in shortlist(cards, profile, image, features)} & gains.keys()
    best = max(gains[name].median_db for name in chosen)
    assert all(gains[name].median_db >= best - AS_GOOD_DB for name in chosen)


def test_an_expert_that_does_not_fit_into_the_device_is_left_out_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    huge = NEW.model_copy(update={"name": "huge", "memory": "XL", "function": "none:none"})
    pool = ExpertPool(Catalogue((*default_catalogue(), huge)))
    profile = load_profile("default")
    names = {}
    for gigabytes in (4, 16):
        monkeypatch.setattr("agent.expert_choice.device_memory", lambda size=gigabytes: size << 30)
        names[gigabytes] = {card.name for card in candidates(STEP, profile, pool)}
    assert names[16] - names[4] == {"huge"}
    monkeypatch.setattr("agent.expert_choice.device_memory", lambda: 4 << 30)
    wanted = profile.model_copy(update={"experts": ("huge",)})
    assert [card.name for card in candidates(STEP, wanted, pool)] == ["huge"]


def test_exhaustively_all_of_them_run(pool: ExpertPool) -> None:
    profile = load_profile("default").model_copy(update={"exhaustive": True})
    cards = candidates(STEP, profile, pool)
    chosen = shortlist(cards, profile, PICTURE, extract_features(PICTURE))
    assert sorted(card.name for card in chosen) == sorted(card.name for card in cards)


@dataclass(frozen=True)
class Meeting:
    """An expert that waits until another one runs too."""

    card: ExpertCard
    both: threading.Barrier
    slots: list[int]

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        self.both.wait(timeout=30)
        self.slots.append(device_index())
        return image.with_pixels(image.pixels * 0.5)


class MeetingPool(ExpertPool):
    """Two experts that run only together."""

    def __init__(self) -> None:
        both, self.slots = threading.Barrier(2), list[int]()
        cards = [NEW.model_copy(update={"name": name}) for name in ("one", "two", "three", "four")]
        self._meeting = {card.name: Meeting(card, both, self.slots) for card in cards}
        super().__init__(Catalogue(tuple(cards)))

    def get(self, name: str, token: ProgressToken | None = None) -> Expert:
        return self._meeting[name]


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(DEVICE_VARIABLE, "cpu, cpu")
    devices.cache_clear()
    yield
    monkeypatch.undo()
    devices.cache_clear()


def judged(image: Image, pool: ExpertPool, cards: Sequence[ExpertCard], **changes: object) -> list[Candidate]:
    profile = load_profile("default").model_copy(update=changes)
    return list(run_candidates(step_context(image, STEP, profile, pool), cards))


@pytest.mark.usefixtures("two_devices")
def test_on_two_devices_two_experts_run_at_the_same_time_in_the_order_of_their_cards() -> None:
    pool = MeetingPool()
    image = Image(torch.rand(3, 64, 64))
    candidates_of = judged(image, pool, tuple(pool.catalogue), exhaustive=True)
    assert [one.verdict.expert for one in candidates_of] == [KEEP_INPUT, "one", "two", "three", "four"]
    assert sorted(pool.slots) == [0, 0, 1, 1]


def test_two_devices_give_the_same_verdicts_and_pixels_as_one(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.qmoe.PRESCREEN_ABOVE_PIXELS", 64 * 64)
    image = Image(torch.rand(3, 96, 96, generator=torch.Generator().manual_seed(0)))
    results = []
    for number in (1, 2):
        if number == 2:
            request.getfixturevalue("two_devices")
        pool = ExpertPool()
        cards = [pool.catalogue.card(name) for name in ("restore4k_denoise", "tv_denoise", "restore4k_denoise_unet")]
        results.append([judged(image, pool, cards, exhaustive=exhaustive) for exhaustive in (True, False)])
        assert any("@1" in key for key in pool.loaded()) == (number == 2)
    for alone, together in zip(*results, strict=True):
        assert len(alone) == len(together)
        for one, other in zip(alone, together, strict=True):
            assert one.verdict.model_copy(update={"seconds": 0}) == other.verdict.model_copy(update={"seconds": 0})
            assert (one.image is None) == (other.image is None)
            assert one.image is None or other.image is None or torch.equal(one.image.pixels, other.image.pixels)


@dataclass(frozen=True)
class Mixing:
    """An expert that gives so much of the truth and of the input."""

    card: ExpertCard
    truth: Image
    share: float

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        whole = image.width == self.truth.width
        # Of a crop, which is somewhere in the picture, only blurring is known.
        better = self.truth.pixels if whole else torch.nn.functional.avg_pool2d(image.pixels, 5, 1, 2)
        return image.with_pixels(self.share * better + (1 - self.share) * image.pixels)


class MixingPool(ExpertPool):
    """Experts of whom some do more."""

    def __init__(self, truth: Image, shares: dict[str, float]) -> None:
        cards = [NEW.model_copy(update={"name": name}) for name in shares]
        self._mixing = {card.name: Mixing(card, truth, shares[card.name]) for card in cards}
        self.runs = Counter[str]()
        super().__init__(Catalogue(tuple(cards)))

    def get(self, name: str, token: ProgressToken | None = None) -> Expert:
        self.runs[name] += 1
        return self._mixing[name]


def on_the_whole(task: Task, shares: dict[str, float]) -> set[str]:
    """Whose result on a noisy picture of 0.36 megapixels there is."""
    return set(with_runs(task, shares)[0])


def with_runs(task: Task, shares: dict[str, float]) -> tuple[list[str], Counter[str]]:
    """The same, and how often each expert ran, crops included."""
    truth = Image(resize(torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1)), 600, 600))
    noise = 0.1 * torch.randn(3, 600, 600, generator=torch.Generator().manual_seed(2))
    pool, profile = MixingPool(truth, shares), load_profile("default")
    context = step_context(truth.with_pixels(truth.pixels + noise), Step(task=task), profile, pool)
    judged = list(run_candidates(context, tuple(pool.catalogue)))
    return [one.verdict.expert for one in judged if one.image and one.verdict.expert != KEEP_INPUT], pool.runs


def test_the_expert_that_is_best_on_crops_runs_on_the_whole_of_a_large_picture() -> None:
    assert on_the_whole(Task.DENOISING, {"idle": 0.0, "eager": 1.0}) == {"eager"}


def test_experts_that_crops_cannot_tell_apart_both_run_on_the_whole() -> None:
    assert on_the_whole(Task.DENOISING, {"idle": 0.0, "one": 1.0, "other": 1.0}) == {"one", "other"}


@pytest.mark.parametrize(("shares", "crops"), [({"one": 1.0, "two": 1.0}, 9), ({"one": 1.0, "two": 0.0}, 3)])
def test_one_enlarger_runs_on_the_whole_and_those_that_crops_hardly_tell_apart_are_compared_on_more(
    shares: dict[str, float], crops: int
) -> None:
    (kept,), runs = with_runs(Task.SUPER_RESOLUTION, shares)
    assert runs == {name: crops + (name == kept) for name in shares}


def test_motion_deblurring_is_not_prescreened() -> None:
    assert on_the_whole(Task.MOTION_DEBLURRING, {"idle": 0.0, "eager": 1.0}) == {"idle", "eager"}


def test_crops_are_prescreened_without_tta_and_the_whole_is_run_with_what_it_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []

    def run(self: NetworkExpert, tile: torch.Tensor) -> torch.Tensor:
        looks.extend([tile.shape[-1]] * len(tile))
        return tile

    monkeypatch.setattr(NetworkExpert, "_run", run)
    pool, profile = ExpertPool(), load_profile("default")
    cards = [pool.catalogue.card(name) for name in ("restore4k_denoise", "restore4k_denoise_unet")]
    image = Image(torch.rand(3, 600, 600, generator=torch.Generator().manual_seed(0)))
    whole = [
        one for one in run_candidates(step_context(image, STEP, profile, pool), cards) if one.verdict.stage == "full"
    ]
    experts = len(whole) - 1  # beside the input
    assert sum(SIDE < side < 600 for side in looks) == len(cards) * PRESCREEN_CROPS
    assert sum(side == 600 for side in looks) == 2 * experts


@pytest.mark.parametrize(("sigma", "some_are_probable"), [(4, True), (0, False)])
def test_experts_without_a_probable_gain_do_not_run_in_a_step_that_nobody_asks_for(
    pool: ExpertPool, sigma: float, some_are_probable: bool
) -> None:
    asked = step_context(noisy_coffee(sigma, None), STEP, load_profile("default"), pool)
    gains = expected_gains(asked.features, STEP.task)
    probable = {name for name, gain in gains.items() if is_probable(STEP.task, gain.low_db, gain.median_db)}
    assert bool(probable) == some_are_probable
    run, unasked = (
        {card.name for card in experts_for(context)} for context in (asked, replace(asked, is_requested=False))
    )
    assert not run & gains.keys() <= probable
    if some_are_probable:
        assert unasked & gains.keys() <= probable
        assert NEW.name in unasked
    else:
        assert unasked == run
