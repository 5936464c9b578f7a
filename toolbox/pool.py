"""Pools that keep models loaded within a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from imaging.device import device_index, release_memory
from imaging.errors import ResourceError
from imaging.progress import ProgressToken
from toolbox.availability import availability
from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue, catalogue_of
from toolbox.expert import Expert, load_expert
from toolbox.store import ModelStore
from toolbox.tasks import Task

GIGABYTE = 1 << 30
Model = TypeVar("Model")


class ModelPool:
    """Loads models on first use and keeps them; evicts the least recently used ones when the budget is exceeded.

    Thread-safe. The budget counts the attribute `weight_bytes` of the models, or 0 without it. Only a single model
    larger than the budget exceeds it.
    """

    def __init__(self, budget_bytes: int = 4 * GIGABYTE) -> None:
        self._budget = budget_bytes
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.RLock()  # loading a model may access the pool

    def hold(self, key: str, load: Callable[[], Model], expected_bytes: int = 0) -> Model:
        """The model with that key; calls `load` if it is not in memory. Errors of `load` propagate.

        Models are evicted first to make room for `expected_bytes`. If `load` raises `ResourceError`, all other models
        are evicted and it is called once more.
        """
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
            else:
                self._shrink(self._budget - expected_bytes, keep=0)
                self._models[key] = self._loaded(load)
                self._shrink(self._budget, keep=1)
            model: Model = self._models[key]
            return model

    def loaded(self) -> tuple[str, ...]:
        """Keys of the loaded models, least recently used first."""
        with self._lock:
            return tuple(self._models)

    def weight_bytes(self) -> int:
        """Total bytes of the loaded weights."""
        with self._lock:
            return self._size()

    def clear(self) -> None:
        """Evict all models."""
        with self._lock:
            self._drop(tuple(self._models))

    def _loaded(self, load: Callable[[], Model]) -> Model:
        try:
            return load()
        except ResourceError:
            if not self._models:
                raise
        self._drop(tuple(self._models))
        return load()

    def _shrink(self, budget: int, keep: int) -> None:
        """Evict the oldest models until the rest fits into `budget`, but never the newest `keep` models."""
        while len(self._models) > keep and self._size() > max(budget, 0):
            self._drop((next(iter(self._models)),))

    def _drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self._models[key]
        release_memory()

    def _size(self) -> int:
        return sum(int(getattr(model, "weight_bytes", 0)) for model in self._models.values())


class ExpertPool(ModelPool):
    """A pool of experts by name, with their catalogue and the store of downloaded weights."""

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        budget_bytes: int = 4 * GIGABYTE,
        store: ModelStore | None = None,
    ) -> None:
        super().__init__(budget_bytes)
        self.store = store or ModelStore()
        self.catalogue = catalogue_of(self.store) if catalogue is None else catalogue
        self._purpose = ""

    def runnable(self, task: Task, scale: int = 1) -> tuple[ExpertCard, ...]:
        """The candidates for a task that can run here: embedded, or with their weights in the store."""
        return tuple(card for card in self.catalogue.for_task(task, scale) if availability(card, self.store).can_run)

    def get(self, name: str, token: ProgressToken | None = None) -> Expert:
        """The expert with that name, loaded on the current thread's device; each device has its own copy.

        Raises `UnknownExpert`, `WeightsError`, `BadCard`, `Cancelled`.
        """
        card = self.catalogue.card(name)
        key = f"{name}@{device_index()}" if device_index() else name
        return self.hold(key, lambda: load_expert(card, self.store, token), self._expected_bytes(card))

    def evict_unused(self, purpose: str, useful: Callable[[ExpertCard], bool]) -> None:
        """Evict the experts that are not useful for `purpose`, if it differs from the last call's."""
        with self._lock:
            if purpose != self._purpose:
                cards = {card.name: card for card in self.catalogue}
                names = {key: key.partition("@")[0] for key in self._models}
                self._drop([key for key, name in names.items() if name in cards and not useful(cards[name])])
            self._purpose = purpose

    def _expected_bytes(self, card: ExpertCard) -> int:
        """The size of its files, which is about the memory of float32 weights."""
        return sum(self.store.path(file.name).stat().st_size for file in card.files if self.store.has(file.name))
