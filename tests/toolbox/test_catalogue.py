"""The embedded cards are complete and consistent, and errors in cards are clear."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from toolbox.card import ClassicalCard, ExpertCard, OnnxCard, SpandrelCard, UnavailableCard
from toolbox.catalogue import Catalogue, default_catalogue, parse_cards
from toolbox.errors import BadCard, DuplicateExpert, UnknownExpert
from toolbox.expert import load_expert
from toolbox.expert_table import availability_of
from toolbox.tasks import GAIN_TASKS, Degradation, Task

CARDS = list(default_catalogue())
CLASSICAL = [card for card in CARDS if isinstance(card, ClassicalCard)]
REPLACED = [card for card in CARDS if isinstance(card, OnnxCard | UnavailableCard)]
PUBLISHED = [card for card in CARDS if card.files or isinstance(card, UnavailableCard)]
REFERENCE = {
    "brightening": "constant_shift gamma_correction histogram_equalization maxim fourierdiff diffplugin",
    "defocus_deblurring": "drbnet ifan restormer lakdnet convir diffplugin",
    "motion_deblurring": "maxim mprnet restormer xrestormer nafnet evssm adarevd fftformer mlwnet ufpdeblur turtle",
    "dehazing": "maxim xrestormer ridcp dehazeformer diffplugin",
    "denoising": "swinir_15 swinir_50 maxim mprnet restormer xrestormer nafnet autodir",
    "deraining": "maxim mprnet restormer xrestormer diffplugin",
    "jpeg_artifact_removal": "swinir_40 fbcnn_blind fbcnn_5 fbcnn_90",
    "super_resolution": "hat_psnr xrestormer swinfir hma drct hat_gan swinir_gan diffbir osediff pisasr hat_psnr_2x "
    "swinfir_2x hma_2x swinir_2x_gan diffbir_2x osediff_2x pisasr_2x osediff_16x pisasr_16x",
    "face_restoration": "codeformer gfpgan difface",
    "old_photo_restoration": "bobl",
}
"""The toolbox of 4KAgent (arXiv 2507.07105) by task."""
GOOD = """
[my_denoise]
task = "denoising"
loader = "classical"
function = "toolbox.classical.denoising:nlm_denoise"
about = "A test."
source = "A test"
"""


def test_listing_the_experts_loads_no_heavy_library() -> None:
    program = (
        "import sys\n"
        "from toolbox.catalogue import default_catalogue\n"
        "print(len(list(default_catalogue())))\n"
        "print([name for name in ('torch', 'cv2', 'scipy', 'skimage', 'spandrel', 'numpy') if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.split("\n")[:2] == [str(len(CARDS)), "[]"], result.stderr


@pytest.mark.parametrize("task", GAIN_TASKS)
def test_every_task_has_two_classical_experts(task: Task) -> None:
    assert len([card for card in default_catalogue().for_task(task) if card.loader == "classical"]) >= 2


@pytest.mark.parametrize("scale", [2, 4])
def test_every_scale_has_two_classical_experts(scale: int) -> None:
    cards = default_catalogue().for_task(Task.SUPER_RESOLUTION, scale)
    assert len([card for card in cards if card.loader == "classical"]) >= 2
    assert {card.scale for card in cards} == {scale}


@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_every_classical_card_names_a_documented_function_of_its_own_name(card: ClassicalCard) -> None:
    module, name = card.function.split(":")
    assert name == card.name
    assert getattr(importlib.import_module(module), name).__doc__
    assert load_expert(card).card is card


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_has_a_short_description_a_source_and_a_licence(card: ExpertCard) -> None:
    assert card.about.endswith(".")
    assert len(card.about) <= 200
    assert card.source
    assert card.licence


@pytest.mark.parametrize("card", PUBLISHED, ids=lambda card: card.name)
def test_a_published_card_has_a_page_and_an_architecture(card: ExpertCard) -> None:
    assert card.page.startswith("https://")
    assert getattr(card, "architecture", "") or card in REPLACED


@pytest.mark.parametrize("card", REPLACED, ids=lambda card: card.name)
def test_the_alternatives_of_an_expert_run_in_process_for_the_same_task(card: OnnxCard | UnavailableCard) -> None:
    assert card.why
    assert card.alternatives
    for name in card.alternatives:
        other = default_catalogue().card(name)
        assert other.task is card.task
        assert availability_of(other) == "in-process"


@pytest.mark.parametrize(("task", "tools"), REFERENCE.items())
def test_every_expert_of_4kagent_has_a_card(task: str, tools: str) -> None:
    known = {tool for card in default_catalogue() if card.task == task for tool in card.reference}
    assert set(tools.split()) <= known


def test_non_commercial_licences_are_marked() -> None:
    restricted = [card for card in CARDS if any(word in card.licences.lower() for word in ("non-commercial", "-nc-"))]
    assert len(restricted) > 10
    assert {card.commercial for card in restricted} <= {"no", "ask"}


def test_cards_with_the_same_file_agree_on_it() -> None:
    files = [file for card in CARDS for file in card.files]
    assert len(set(files)) == len({file.name for file in files})


def test_degradations_and_tasks_correspond_one_to_one() -> None:
    assert {degradation.task.degradation for degradation in Degradation} == set(Degradation)
    assert {degradation.task for degradation in Degradation} == set(Task)


def test_the_error_for_an_unknown_expert_suggests_similar_names() -> None:
    with pytest.raises(UnknownExpert, match=r"'nlm_denoyse'.*'nlm_denoise'") as caught:
        default_catalogue().card("nlm_denoyse")
    assert "restore4k experts" in caught.value.hint


def test_the_error_for_a_dissimilar_name_suggests_nothing() -> None:
    with pytest.raises(UnknownExpert) as caught:
        default_catalogue().card("zzzzzzzz")
    assert "did you mean" not in str(caught.value)


def test_adding_cards_does_not_change_the_catalogue() -> None:
    before = Catalogue(tuple(CARDS))
    after = before.with_cards(parse_cards(GOOD, "mine.toml"))
    assert after.card("my_denoise").task is Task.DENOISING
    assert len(list(before)) + 1 == len(list(after))


def test_two_cards_with_the_same_name_are_refused() -> None:
    cards = parse_cards(GOOD, "mine.toml")
    with pytest.raises(DuplicateExpert, match="my_denoise"):
        Catalogue().with_cards(cards).with_cards(cards)


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ("[my_denoise", ["TOML"]),
        (GOOD + GOOD, ["TOML", "my_denoise"]),
        ("loose = 1", ["loose", "table"]),
        (GOOD + "colour = 'red'", ["my_denoise", "colour"]),
        (GOOD.replace('about = "A test."', ""), ["my_denoise", "about"]),
        (GOOD.replace("denoising", "cooking", 1), ["my_denoise", "task", "cooking"]),
        (GOOD.replace("my_denoise", '"My Denoise"'), ["My Denoise", "name"]),
        (GOOD + "scale = 3", ["my_denoise", "scale", "3"]),
        (GOOD + "scale = 2", ["my_denoise", "scale", "denoising"]),
        (GOOD.replace("denoising", "super_resolution", 1), ["my_denoise", "scale", "super_resolution"]),
        (GOOD.replace('"classical"', '"spandrel"'), ["my_denoise", "function", "spandrel"]),
        (GOOD.replace("function", "preprocessor").replace('"classical"', '"spandrel"'), ["my_denoise", "weights"]),
        (GOOD.replace('"classical"', '"pickle"'), ["my_denoise", "loader", "pickle", "spandrel"]),
        (GOOD.replace('loader = "classical"', ""), ["my_denoise", "loader"]),
        (GOOD.replace("function", "weights"), ["my_denoise", "function"]),
        (GOOD + "halo = -1", ["my_denoise", "halo", "-1"]),
        (GOOD + "name = 'other'", ["my_denoise", "name"]),
    ],
)
def test_the_error_for_a_wrong_card_names_file_card_and_key(toml: str, parts: list[str]) -> None:
    with pytest.raises(BadCard) as caught:
        parse_cards(toml, "mine.toml")
    for part in ["mine.toml", *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize("function", ["toolbox.classical.denoising:absent", "no.such.module:f", "colon", ":f", ""])
def test_a_missing_function_is_an_error_of_the_card(function: str) -> None:
    card = parse_cards(GOOD, "mine.toml")[0].model_copy(update={"function": function})
    with pytest.raises(BadCard, match="my_denoise"):
        load_expert(card)


def test_a_preprocessor_is_no_candidate_but_its_network_is() -> None:
    candidates = {card.name: card for card in default_catalogue().for_task(Task.MOTION_DEBLURRING)}
    network = candidates["restore4k_motion"]
    assert isinstance(network, SpandrelCard)
    beginner = default_catalogue().card(network.preprocessor or "")
    assert not beginner.standalone
    assert beginner.name not in candidates
