"""Users' files with old key names and expert ids still work."""

from __future__ import annotations

import pytest

from profiles.schema import Profile
from toolbox.aliases import CARD_KEYS, EXPERTS
from toolbox.catalogue import default_catalogue, parse_cards

CARD = """
[mine]
task = "denoising"
about = "Mine."
source = "here"
"""
NETWORK = f'{CARD}loader = "spandrel"\nweights = "mine.safetensors"\n'
UNAVAILABLE = f'{CARD}loader = "none"\nwhy = "Lost."\n'
DIFFUSION = f'{CARD}loader = "diffusion"\narchitecture = "OSEDiff"\n'


@pytest.mark.parametrize(
    ("card", "old", "value"),
    [
        (NETWORK, "views", "4"),
        (NETWORK, "begins_with", '"wiener_defocus"'),
        (NETWORK, "alone", "false"),
        (UNAVAILABLE, "instead", '["a"]'),
        (DIFFUSION, "folder", '"stable-diffusion-2-1-base"'),
    ],
)
def test_a_card_with_an_old_key_is_read_as_with_the_new_one(card: str, old: str, value: str) -> None:
    (before,) = parse_cards(f"{card}{old} = {value}", "mine.toml")
    (after,) = parse_cards(f"{card}{CARD_KEYS[old]} = {value}", "mine.toml")
    assert before == after


@pytest.mark.parametrize("old", EXPERTS)
def test_an_old_expert_id_selects_the_current_expert(old: str) -> None:
    assert default_catalogue().card(old).name == EXPERTS[old]
    assert Profile(name="mine", experts=(old,)).experts == (EXPERTS[old],)
