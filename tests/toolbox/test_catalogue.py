"""The whole catalogue keeps its contract, and every mistake in a card is named."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue, default_catalogue, parse_cards
from toolbox.errors import BadCard, DuplicateExpert, UnknownExpert
from toolbox.expert import load_expert
from toolbox.expert_table import availability_of
from toolbox.tasks import Degradation, Task

CARDS = list(default_catalogue())
CLASSICAL = [card for card in CARDS if card.loader == "classical"]
PUBLISHED = [card for card in CARDS if card.files or card.loader == "none"]
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
SAME_SIZE_TASKS = [
    Task.BRIGHTENING,
    Task.DEFOCUS_DEBLURRING,
    Task.MOTION_DEBLURRING,
    Task.DEHAZING,
    Task.DENOISING,
    Task.DERAINING,
    Task.JPEG_ARTIFACT_REMOVAL,
]
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
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert told.stdout.split("\n")[:2] == [str(len(CARDS)), "[]"], told.stderr


@pytest.mark.parametrize("task", SAME_SIZE_TASKS)
def test_every_task_has_two_classical_experts(task: Task) -> None:
    assert len([card for card in default_catalogue().for_task(task) if card.loader == "classical"]) >= 2


@pytest.mark.parametrize("scale", [2, 4])
def test_every_scale_has_two_classical_experts(scale: int) -> None:
    cards = default_catalogue().for_task(Task.SUPER_RESOLUTION, scale)
    assert len([card for card in cards if card.loader == "classical"]) >= 2
    assert {card.scale for card in cards} == {scale}


@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_every_classical_card_names_a_function_that_says_what_it_does(card: ExpertCard) -> None:
    module, name = str(card.function).split(":")
    assert getattr(importlib.import_module(module), name).__doc__
    assert load_expert(card).card is card


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_can_be_read_by_a_person(card: ExpertCard) -> None:
    assert card.about.endswith(".")
    assert len(card.about) <= 200
    assert card.source
    assert card.licence


@pytest.mark.parametrize("card", PUBLISHED, ids=lambda card: card.name)
def test_a_published_card_says_where_it_comes_from_and_under_which_terms(card: ExpertCard) -> None:
    assert card.page.startswith("https://")
    assert card.architecture or card.loader in ("onnx", "none")
    assert bool(card.why) == bool(card.alternatives) == (card.loader in ("onnx", "none"))


@pytest.mark.parametrize("card", [card for card in CARDS if card.alternatives], ids=lambda card: card.name)
def test_what_replaces_an_expert_does_the_same_task_in_process(card: ExpertCard) -> None:
    for name in card.alternatives:
        other = default_catalogue().card(name)
        assert other.task is card.task
        assert availability_of(other) == "in-process"


@pytest.mark.parametrize(("task", "tools"), REFERENCE.items())
def test_every_expert_of_the_reference_has_a_card(task: str, tools: str) -> None:
    known = {tool for card in default_catalogue() if card.task == task for tool in card.reference}
    assert set(tools.split()) <= known


def test_what_must_not_be_used_commercially_says_so() -> None:
    restricted = [card for card in CARDS if any(word in card.licences.lower() for word in ("non-commercial", "-nc-"))]
    assert len(restricted) > 10
    assert {card.commercial for card in restricted} <= {"no", "ask"}


def test_cards_of_one_file_agree_on_it() -> None:
    files = [file for card in CARDS for file in card.files]
    assert len(set(files)) == len({file.name for file in files})


def test_every_degradation_has_its_task_and_back() -> None:
    assert {degradation.task.degradation for degradation in Degradation} == set(Degradation)
    assert {degradation.task for degradation in Degradation} == set(Task)


def test_an_unknown_expert_is_told_with_near_names() -> None:
    with pytest.raises(UnknownExpert, match=r"'nlm_denoyse'.*'nlm_denoise'") as caught:
        default_catalogue().card("nlm_denoyse")
    assert "restore4k experts" in caught.value.hint


def test_a_name_that_is_near_to_none_is_told_without_a_guess() -> None:
    with pytest.raises(UnknownExpert) as caught:
        default_catalogue().card("zzzzzzzz")
    assert "did you mean" not in str(caught.value)


def test_cards_of_others_are_added_without_changing_the_catalogue() -> None:
    before = Catalogue(tuple(CARDS))
    after = before.with_cards(parse_cards(GOOD, "mine.toml"))
    assert after.card("my_denoise").task is Task.DENOISING
    assert len(list(before)) + 1 == len(list(after))


def test_two_cards_of_one_name_are_refused() -> None:
    cards = parse_cards(GOOD, "mine.toml")
    with pytest.raises(DuplicateExpert, match="my_denoise"):
        Catalogue().with_cards(cards).with_cards(cards)


@pytest.mark.parametrize(
    ("toml", "told"),
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
        (GOOD.replace('"classical"', '"spandrel"'), ["my_denoise", "weights"]),
        (GOOD.replace("function", "weights"), ["my_denoise", "function"]),
        (GOOD + "halo = -1", ["my_denoise", "halo", "-1"]),
        (GOOD + "name = 'other'", ["my_denoise", "name"]),
    ],
)
def test_a_mistake_in_a_card_is_told_with_file_card_and_key(toml: str, told: list[str]) -> None:
    with pytest.raises(BadCard) as caught:
        parse_cards(toml, "mine.toml")
    for part in ["mine.toml", *told]:
        assert part in str(caught.value)


@pytest.mark.parametrize("function", ["toolbox.classical.denoising:absent", "no.such.module:f", "colon", ":f", ""])
def test_a_card_whose_function_is_not_there_is_a_bad_card(function: str) -> None:
    card = parse_cards(GOOD, "mine.toml")[0].model_copy(update={"function": function})
    with pytest.raises(BadCard, match="my_denoise"):
        load_expert(card)


def test_what_only_begins_is_no_candidate_but_what_finishes_it_is() -> None:
    candidates = {card.name: card for card in default_catalogue().for_task(Task.MOTION_DEBLURRING)}
    beginner = default_catalogue().card(candidates["restore4k_motion"].preprocessor or "")
    assert not beginner.standalone
    assert beginner.name not in candidates
