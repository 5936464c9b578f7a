"""On pictures that were enlarged before, a CPU runs the small network that was distilled from the expert chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.judging import Judge
from agent.state import Step
from imaging.reading import read_image
from tests.agent.scripted import (
    PLAIN_2X,
    ScriptedExpert,
    ScriptedPool,
    enlarge,
    expert,
    profile,
    run,
    step_context,
    winners,
)
from toolbox.catalogue import default_catalogue
from toolbox.tasks import Task


def standing_in_for(other: ScriptedExpert) -> ScriptedExpert:
    card = other.card.model_copy(update={"name": f"fast_{other.card.scale}x", "stands_in_for": other.card.name})
    return replace(other, card=card)


PLAIN_4X = expert("plain_4x", Task.SUPER_RESOLUTION, enlarge(4), 4)
EXPERTS = (PLAIN_2X, PLAIN_4X, standing_in_for(PLAIN_2X), standing_in_for(PLAIN_4X))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, ["plain_2x", "fast_4x"]),
        ({"exhaustive": True}, ["plain_2x", "plain_4x"]),
        ({"experts": ("plain_4x",)}, ["plain_2x", "plain_4x"]),
        ({"experts": ("fast_2x",)}, ["fast_2x", "fast_4x"]),
    ],
    ids=["by default", "exhaustive", "the other is named", "it is named"],
)
def test_it_runs_in_the_second_enlargement_only(
    keys: dict[str, object], expected: list[str], noisy_file: Path
) -> None:
    wanted = profile(plan=("super_resolution",), restore_option=None, scale_factor=8, **keys)
    assert winners(run(noisy_file, wanted, ScriptedPool(*EXPERTS))) == expected


def test_its_verdict_has_the_prior_of_the_expert_that_it_stands_in_for(noisy_file: Path) -> None:
    """Its own name has none."""
    image = read_image(noisy_file)
    step = Step(task=Task.SUPER_RESOLUTION, scale=4)
    judge = Judge(step_context(image, step, profile(), ScriptedPool()))
    card = PLAIN_4X.card.model_copy(update={"name": "restore4k_sr_x4"})
    small = card.model_copy(update={"name": "fast_4x", "stands_in_for": card.name})
    verdicts = [judge.evaluate(one, enlarge(4)(image), 0.0).verdict for one in (card, small)]
    assert [verdict.expert for verdict in verdicts] == ["restore4k_sr_x4", "fast_4x"]
    assert verdicts[0].expert_prior == verdicts[1].expert_prior
    assert verdicts[0].score == verdicts[1].score


def test_shipped_stand_ins_do_the_step_of_their_expert() -> None:
    catalogue = default_catalogue()
    stand_ins = [card for card in catalogue if card.stands_in_for]
    assert stand_ins
    for card in stand_ins:
        other = catalogue.card(card.stands_in_for)
        assert (card.task, card.scale, card.preference) == (other.task, other.scale, other.preference)
