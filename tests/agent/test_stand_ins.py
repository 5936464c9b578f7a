"""On pictures that were enlarged before, a CPU runs the small network that was distilled from the expert chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.judging import Judge
from agent.state import Step
from agent.step import experts_for
from imaging.convert import from_numpy
from imaging.image import Image
from imaging.reading import read_image
from imaging.writing import write_image
from profiles.loading import load_profile
from tests.agent.scripted import (
    CLEAN,
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
from toolbox.pool import ExpertPool
from toolbox.tasks import Task


def standing_in_for(other: ScriptedExpert) -> ScriptedExpert:
    keys = {"name": f"fast_{other.card.scale}x", "stands_in_for": other.card.name, "blind": False, "teraflop": 0.0}
    return replace(other, card=other.card.model_copy(update=keys))


def taking(other: ScriptedExpert, teraflop: float) -> ScriptedExpert:
    return replace(other, card=other.card.model_copy(update={"teraflop": teraflop}))


PLAIN_4X = expert("plain_4x", Task.SUPER_RESOLUTION, enlarge(4), 4)


def blind(other: ScriptedExpert) -> ScriptedExpert:
    return replace(other, card=other.card.model_copy(update={"blind": True}))


def darkened(image: Image) -> Image:
    return image.with_pixels(enlarge(4)(image).pixels * 0.3)


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


@pytest.mark.parametrize(
    ("keys", "teraflop", "winner"),
    [
        ({}, 0.0, "fast_4x"),
        ({}, 1e6, "worse_4x"),
        ({"exhaustive": True}, 0.0, "fast_4x"),
        ({"experts": ("plain_4x",)}, 0.0, "plain_4x"),
    ],
    ids=["by default", "it is slow, too", "exhaustive", "the other is named"],
)
def test_it_runs_where_its_expert_would_take_too_long(
    keys: dict[str, object], teraflop: float, winner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "clean.png"
    write_image(Image(from_numpy(CLEAN)), source)
    monkeypatch.setattr("agent.expert_choice.teraflops", lambda device: 0.28)
    network = expert("plain_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "perception")
    slow, fast = taking(network, 1e6), taking(standing_in_for(network), teraflop)
    worse = expert("worse_4x", Task.SUPER_RESOLUTION, darkened, 4)
    wanted = profile(plan=("super_resolution",), restore_option=None, scale_factor=4, detail=1.0, **keys)
    restoration = run(source, wanted, ScriptedPool(slow, fast, worse))
    assert winners(restoration) == [winner]
    warnings = [one for one in restoration.state.warnings if "plain_4x was left out" in one]
    assert len(warnings) == (winner != "plain_4x")
    assert all(("fast_4x" in one) == (winner == "fast_4x") for one in warnings)


@pytest.mark.parametrize(
    ("detail", "able", "expected"),
    [
        (0.4, ("plain", "large", "small"), "plain_4x+fast_4x"),
        (0.4, ("blind", "large", "small"), "blind_4x+large_4x"),
        (0.4, ("blind", "small"), "blind_4x+fast_4x"),
        (1.0, ("plain", "large", "small"), "large_4x"),
        (1.0, ("plain", "small"), "fast_4x"),
        (0.0, ("plain", "small"), "plain_4x"),
    ],
    ids=["blended", "blind", "blind without the other", "texture alone", "the other cannot run", "no texture"],
)
def test_texture_beside_a_network_for_clean_pictures_is_its(
    detail: float, able: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    """A network that invents less is nearer to a faithful result; a blind one suits pictures that are not clean."""
    source = tmp_path / "clean.png"
    write_image(Image(from_numpy(CLEAN)), source)
    large = expert("large_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "perception")
    faithful = expert("plain_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "fidelity")
    other = expert("blind_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "fidelity")
    small = standing_in_for(large)
    experts = {"plain": faithful, "blind": blind(other), "large": blind(large), "small": small}
    wanted = profile(plan=("super_resolution",), restore_option=None, scale_factor=4, detail=detail)
    assert winners(run(source, wanted, ScriptedPool(*(experts[name] for name in able)))) == [expected]


@pytest.mark.parametrize(("detail", "winner"), [(0.4, "blind_4x+fast_4x"), (1.0, "large_4x")])
def test_minutes_for_texture_are_taken_only_where_it_is_not_blended(
    detail: float, winner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "clean.png"
    write_image(Image(from_numpy(CLEAN)), source)
    monkeypatch.setattr("agent.expert_choice.teraflops", lambda device: 0.28)
    large = blind(expert("large_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "perception"))
    faithful = blind(expert("blind_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "fidelity"))
    minute = 0.28 * 60 * 1e6 / (CLEAN.shape[0] * CLEAN.shape[1])
    wanted = profile(plan=("super_resolution",), restore_option=None, scale_factor=4, detail=detail)
    pool = ScriptedPool(faithful, taking(large, minute), standing_in_for(large))
    restoration = run(source, wanted, pool)
    assert winners(restoration) == [winner]
    assert restoration.state.warnings == ()


@pytest.mark.parametrize(
    ("detail", "able", "expected"),
    [
        (0.4, ("plain", "large", "small"), ["plain_4x+fast_4x", "plain_4x"]),
        (1.0, ("plain", "large", "small"), ["large_4x", "large_4x"]),
    ],
    ids=["blended", "texture alone"],
)
def test_its_texture_is_that_of_the_first_enlargement(
    detail: float, able: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    source = tmp_path / "clean.png"
    write_image(Image(from_numpy(CLEAN[:64, :64])), source)
    large = expert("large_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "perception")
    faithful = expert("plain_4x", Task.SUPER_RESOLUTION, enlarge(4), 4, "fidelity")
    experts = {"plain": faithful, "large": blind(large), "small": standing_in_for(large)}
    wanted = profile(plan=("super_resolution",), restore_option=None, scale_factor=16, detail=detail)
    assert winners(run(source, wanted, ScriptedPool(*(experts[name] for name in able)))) == expected


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


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("default", {"realesrgan_x4", "restore4k_sr_x4_texture"}),
        ("interactive", {"realesrgan_x4", "restore4k_sr_x4_texture"}),
        ("Gen4K-F", set()),
        ("medical-safe", set()),
        ("Gen4K-P", {"realesrgan_x4"}),
    ],
)
def test_which_experts_generate_texture(name: str, network: set[str]) -> None:
    step = Step(task=Task.SUPER_RESOLUTION, scale=4)
    context = step_context(Image(from_numpy(CLEAN)), step, load_profile(name), ExpertPool())
    assert {card.name for card in experts_for(context) if card.preference == "perception"} == network


def test_shipped_stand_ins_do_the_step_of_their_expert() -> None:
    catalogue = default_catalogue()
    stand_ins = [card for card in catalogue if card.stands_in_for]
    assert stand_ins
    for card in stand_ins:
        other = catalogue.card(card.stands_in_for)
        assert (card.task, card.scale, card.preference) == (other.task, other.scale, other.preference)
