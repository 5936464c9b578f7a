"""Experts stay loaded as long as their weights fit, the least recently used going first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from imaging.control import Control
from imaging.image import Image
from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.errors import UnknownExpert
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.store import ModelStore


@dataclass(frozen=True)
class Heavy:
    """An expert whose weights take ten bytes."""

    card: ExpertCard
    store: ModelStore
    weight_bytes: int = 10

    def __call__(self, image: Image, control: Control) -> Image:
        return image


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> ExpertPool:
    """Room for two heavy experts of four."""
    common: dict[str, Any] = {"task": "denoising", "loader": "spandrel", "weights": "w", "about": "", "source": ""}
    cards = tuple(ExpertCard.model_validate({"name": name} | common) for name in "abcd")
    monkeypatch.setattr("toolbox.pool.load_expert", Heavy)
    return ExpertPool(Catalogue(cards), budget_bytes=20)


def test_an_expert_is_loaded_once(pool: ExpertPool) -> None:
    assert pool.get("a") is pool.get("a")
    assert pool.loaded() == ("a",)


def test_nothing_is_loaded_before_it_is_asked_for(pool: ExpertPool) -> None:
    assert pool.loaded() == ()


def test_the_least_recently_used_goes_when_the_budget_is_spent(pool: ExpertPool) -> None:
    for name in ("a", "b", "a", "c"):
        pool.get(name)
    assert pool.loaded() == ("a", "c")


def test_an_expert_larger_than_the_budget_is_kept_while_it_is_the_last(pool: ExpertPool) -> None:
    small = ExpertPool(pool.catalogue, budget_bytes=5)
    small.get("a")
    assert small.loaded() == ("a",)
    small.get("b")
    assert small.loaded() == ("b",)


def test_an_unknown_expert_is_an_error_and_drops_nothing(pool: ExpertPool) -> None:
    pool.get("a")
    with pytest.raises(UnknownExpert, match="absent"):
        pool.get("absent")
    assert pool.loaded() == ("a",)


def test_experts_without_weights_cost_nothing(photo: Image) -> None:
    pool = ExpertPool(budget_bytes=0)
    names = [card.name for card in default_catalogue() if card.loader == "classical"][:6]
    for name in names:
        pool.get(name)
    assert pool.loaded() == tuple(names)
    assert run_expert(pool.get("constant_shift"), photo, Control()).width == 512
