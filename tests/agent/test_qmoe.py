"""Which experts a step runs."""

from __future__ import annotations

import pytest
import torch

from agent.judging import experience
from agent.qmoe import FAVOURITES, candidates, favourites
from agent.state import Step
from imaging.image import Image
from profiles.loading import load_profile
from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

STEP = Step(task=Task.DENOISING)
PICTURE = Image(torch.zeros(3, 8, 8))
NEW = ExpertCard(
    name="unheard_of", task=Task.DENOISING, loader="classical", function="none:none", about="", source=""
)


@pytest.fixture
def pool() -> ExpertPool:
    return ExpertPool(Catalogue((*default_catalogue(), NEW)))


def test_the_best_by_experience_run_and_every_new_one(pool: ExpertPool) -> None:
    profile = load_profile("default")
    cards = candidates(STEP, profile, pool)
    chosen = {card.name for card in favourites(cards, profile, PICTURE)}
    known = sorted({card.name for card in cards} - {NEW.name}, key=lambda name: experience(STEP.task, name))
    assert len(known) > FAVOURITES
    assert chosen == {NEW.name, *known[-FAVOURITES:]}


def test_an_expert_that_does_not_fit_into_the_device_is_left_out_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    huge = NEW.model_copy(update={"name": "huge", "memory": "XL", "function": "none:none"})
    pool = ExpertPool(Catalogue((*default_catalogue(), huge)))
    profile = load_profile("default")
    names = {}
    for gigabytes in (4, 16):
        monkeypatch.setattr("agent.qmoe.device_memory", lambda size=gigabytes: size << 30)
        names[gigabytes] = {card.name for card in candidates(STEP, profile, pool)}
    assert names[16] - names[4] == {"huge"}
    monkeypatch.setattr("agent.qmoe.device_memory", lambda: 4 << 30)
    wanted = profile.model_copy(update={"experts": ("huge",)})
    assert [card.name for card in candidates(STEP, wanted, pool)] == ["huge"]


def test_exhaustively_all_of_them_run(pool: ExpertPool) -> None:
    profile = load_profile("default").model_copy(update={"exhaustive": True})
    cards = candidates(STEP, profile, pool)
    assert favourites(cards, profile, PICTURE) == cards
