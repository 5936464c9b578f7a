"""Which networks enlarge a picture."""

from __future__ import annotations

import pytest
from skimage import data

from agent.expert_choice import candidates, shortlist
from agent.state import Step
from imaging.convert import from_numpy, to_float, to_uint8
from imaging.image import Image
from iqa.expected_gain import ExpectedGain
from iqa.features import extract_features
from profiles.loading import load_profile
from toolbox.card import ClassicalCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.degradations import jpeg

NEW = ClassicalCard(
    name="new", task=Task.SUPER_RESOLUTION, scale=4, loader="classical", function="none:none", about="", source=""
)


def coffee(quality: int | None) -> Image:
    pixels = to_float(data.coffee()[:256, :256])
    return Image(from_numpy(to_float(to_uint8(jpeg(pixels, quality) if quality else pixels))))


@pytest.mark.parametrize(
    ("quality", "keys", "run"),
    [
        (None, {}, {"for_clean", "for_compressed"}),
        (15, {}, {"for_compressed"}),
        (15, {"exhaustive": True}, {"for_clean", "for_compressed"}),
        (15, {"experts": ("for_clean",)}, {"for_clean"}),
    ],
)
def test_a_compressed_picture_is_enlarged_by_experts_made_for_such(
    quality: int | None, keys: dict[str, object], run: set[str]
) -> None:
    """Those for clean pictures turn blocks and ringing into worms."""
    cards = [
        NEW.model_copy(update={"name": f"for_{kind}", "blind": kind == "compressed"})
        for kind in ("clean", "compressed")
    ]
    profile = load_profile("default").model_copy(update=keys)
    image = coffee(quality)
    step = Step(task=Task.SUPER_RESOLUTION, scale=4)
    able = candidates(step, profile, ExpertPool(Catalogue((*default_catalogue(), *cards))))
    names = {card.name for card in shortlist(able, profile, image, extract_features(image))}
    assert names & {card.name for card in cards} == run


@pytest.mark.parametrize(("exhaustive", "interpolated"), [(False, False), (True, True)])
def test_no_picture_is_only_interpolated_if_a_network_can_enlarge_it(
    exhaustive: bool, interpolated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every network loses on texture that is as fine as noise, and interpolation least."""
    losses = {"lanczos_4x": 0.0, "restore4k_sr_x4": -0.8, "restore4k_sr_x4_real": -1.0}
    gains = {name: ExpectedGain(loss - 0.5, loss) for name, loss in losses.items()}
    monkeypatch.setattr("agent.expert_choice.ranking_gains", lambda features, task: gains)
    profile = load_profile("default").model_copy(update={"exhaustive": exhaustive})
    image = coffee(None)
    cards = candidates(Step(task=Task.SUPER_RESOLUTION, scale=4), profile, ExpertPool())
    assert losses.keys() <= {card.name for card in cards}
    names = {card.name for card in shortlist(cards, profile, image, extract_features(image))}
    assert ("lanczos_4x" in names) == interpolated
    assert "restore4k_sr_x4" in names
