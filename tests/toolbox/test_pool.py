"""The pool keeps experts loaded within its budget and evicts the least recently used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.architectures import card_of
from benchmarks.random_networks import NETWORKS
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.card import ExpertCard, SpandrelCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.errors import UnknownExpert
from toolbox.expert import run_expert
from toolbox.network import load_network
from toolbox.pool import ExpertPool, ModelPool
from toolbox.store import ModelStore


@dataclass(frozen=True)
class Heavy:
    """An expert whose weights take ten bytes."""

    card: ExpertCard
    store: ModelStore
    token: ProgressToken | None = None
    weight_bytes: int = 10

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        return image


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> ExpertPool:
    """A pool with four experts and a budget for two."""
    common: dict[str, Any] = {"task": "denoising", "loader": "spandrel", "weights": "w", "about": "", "source": ""}
    cards = tuple(SpandrelCard.model_validate({"name": name} | common) for name in "abcd")
    monkeypatch.setattr("toolbox.pool.load_expert", Heavy)
    return ExpertPool(Catalogue(cards), budget_bytes=20)


def test_an_expert_is_loaded_once(pool: ExpertPool) -> None:
    assert pool.get("a") is pool.get("a")
    assert pool.loaded() == ("a",)


def test_experts_are_loaded_on_first_use(pool: ExpertPool) -> None:
    assert pool.loaded() == ()


def test_the_least_recently_used_expert_is_evicted(pool: ExpertPool) -> None:
    for name in ("a", "b", "a", "c"):
        pool.get(name)
    assert pool.loaded() == ("a", "c")


def test_a_single_expert_may_exceed_the_budget(pool: ExpertPool) -> None:
    small = ExpertPool(pool.catalogue, budget_bytes=5)
    small.get("a")
    assert small.loaded() == ("a",)
    small.get("b")
    assert small.loaded() == ("b",)


def test_an_unknown_expert_is_an_error_and_evicts_nothing(pool: ExpertPool) -> None:
    pool.get("a")
    with pytest.raises(UnknownExpert, match="absent"):
        pool.get("absent")
    assert pool.loaded() == ("a",)


SIZES = {"a": 3, "b": 10, "c": 7, "d": 25}
BUDGET = 20


@dataclass
class Sized:
    """A model that counts its live instances."""

    weight_bytes: int


@given(asked=st.lists(st.sampled_from(sorted(SIZES)), max_size=40))
def test_the_budget_is_kept_over_any_sequence_even_while_a_model_is_loaded(asked: list[str]) -> None:
    pool = ModelPool(BUDGET)
    for name in asked:

        def load(size: int = SIZES[name]) -> Sized:
            assert pool.weight_bytes() + size <= max(BUDGET, size)
            return Sized(size)

        assert pool.hold(name, load, SIZES[name]).weight_bytes == SIZES[name]
        assert pool.weight_bytes() <= max(BUDGET, SIZES[name])
        assert pool.loaded()[-1] == name


def test_without_enough_memory_all_other_models_are_evicted_once() -> None:
    pool = ModelPool(100)
    pool.hold("old", lambda: Sized(10))
    tries: list[tuple[str, ...]] = []

    def load() -> Sized:
        tries.append(pool.loaded())
        if len(tries) == 1:
            raise ResourceError("full")
        return Sized(10)

    assert pool.hold("new", load).weight_bytes == 10
    assert tries == [("old",), ()]


def test_a_model_that_never_fits_is_an_error() -> None:
    pool = ModelPool(100)

    def load() -> Sized:
        raise ResourceError("full")

    with pytest.raises(ResourceError, match="full"):
        pool.hold("new", load)
    assert pool.loaded() == ()


def test_another_profile_evicts_experts_that_it_does_not_use(pool: ExpertPool) -> None:
    pool.evict_unused("first", lambda card: True)
    pool.get("a"), pool.get("b")
    pool.hold("metric", lambda: Sized(0))
    pool.evict_unused("first", lambda card: False)
    assert pool.loaded() == ("a", "b", "metric")
    pool.evict_unused("second", lambda card: card.name == "b")
    assert pool.loaded() == ("b", "metric")


def test_models_are_evicted_before_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common: dict[str, Any] = {"task": "denoising", "loader": "spandrel", "about": "", "source": ""}
    cards = tuple(SpandrelCard.model_validate({"name": n, "file": {"name": f"{n}.pth"}} | common) for n in "ab")
    for name in "ab":
        (tmp_path / f"{name}.pth").write_bytes(bytes(10))
    seen: list[int] = []
    pool = ExpertPool(Catalogue(cards), budget_bytes=15, store=ModelStore(tmp_path))

    def load(card: ExpertCard, store: ModelStore, token: ProgressToken | None) -> Heavy:
        seen.append(pool.weight_bytes())
        return Heavy(card, store)

    monkeypatch.setattr("toolbox.pool.load_expert", load)
    pool.get("a"), pool.get("b")
    assert seen == [0, 0]


def test_an_expert_survives_a_device_that_is_too_small_for_its_tiles(photo: Image, tmp_path: Path) -> None:
    """Tiles above 128 pixels do not fit; the result equals that of a large device."""
    network = next(network for network in NETWORKS if network.architecture == "DnCNN")
    expert = load_network(card_of(network, network.write(tmp_path), halo=20), ModelStore(tmp_path))
    whole = run_expert(expert, photo, ProgressToken())
    sides: list[int] = []
    model = expert.descriptor.model
    run = model.forward

    def forward(tile: torch.Tensor) -> torch.Tensor:
        sides.append(max(tile.shape[-2:]))
        if sides[-1] > 128:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(tile)

    model.forward = forward
    small = run_expert(expert, photo, ProgressToken())
    assert max(sides[:1]) > 128
    assert max(sides[-4:]) <= 128
    assert float((small.pixels - whole.pixels).abs().max()) < 1e-3


def test_experts_without_weights_do_not_count(photo: Image) -> None:
    pool = ExpertPool(budget_bytes=0)
    names = [card.name for card in default_catalogue() if card.loader == "classical"][:6]
    for name in names:
        pool.get(name)
    assert pool.loaded() == tuple(names)
    assert run_expert(pool.get("constant_shift"), photo, ProgressToken()).width == 512
