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


def test_exhaustively_all_of_them_run(pool: ExpertPool) -> None:
    profile = load_profile("default").model_copy(update={"exhaustive": True})
    cards = candidates(STEP, profile, pool)
    assert favourites(cards, profile, PICTURE) == cards
