"""Models that stay loaded, within a memory budget: experts, and whatever else has weights."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from toolbox.availability import availability
from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.expert import Expert, load_expert
from toolbox.store import ModelStore
from toolbox.tasks import Task

GIGABYTE = 1 << 30
Model = TypeVar("Model")


class ModelPool:
    """Loads a model when it is first asked for and keeps it; the least recently used go when it is full.

    Safe to share between threads. `budget_bytes` counts what models say as `weight_bytes`; one that does not say
    costs nothing.
    """

    def __init__(self, budget_bytes: int = 4 * GIGABYTE) -> None:
        self._budget = budget_bytes
        self._models: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def hold(self, key: str, load: Callable[[], Model]) -> Model:
        """The model of that key; `load` is called where it is not in memory. What `load` raises passes."""
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
            else:
                self._models[key] = load()
                self._shrink(self._budget)
            model: Model = self._models[key]
            return model

    def loaded(self) -> tuple[str, ...]:
        """Keys of the models in memory, the least recently used first."""
        with self._lock:
            return tuple(self._models)

    def weight_bytes(self) -> int:
        """Bytes of weights in memory."""
        with self._lock:
            return self._size()

    def clear(self) -> None:
        """Let go of all models."""
        with self._lock:
            self._models.clear()

    def _shrink(self, budget: int) -> None:
        """The newest stays, even where it alone is larger than the budget."""
        while len(self._models) > 1 and self._size() > budget:
            self._models.popitem(last=False)

    def _size(self) -> int:
        return sum(int(getattr(model, "weight_bytes", 0)) for model in self._models.values())


class ExpertPool(ModelPool):
    """A pool that knows experts by their names, and where downloaded weights lie."""

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        budget_bytes: int = 4 * GIGABYTE,
        store: ModelStore | None = None,
    ) -> None:
        super().__init__(budget_bytes)
        self.store = store or ModelStore()
        self.catalogue = default_catalogue() if catalogue is None else catalogue

    def runnable(self, task: Task, scale: int = 1) -> tuple[ExpertCard, ...]:
        """The experts for a task that can run here: embedded, or with their weights in the store."""
        return tuple(card for card in self.catalogue.for_task(task, scale) if availability(card, self.store).can_run)

    def get(self, name: str) -> Expert:
        """The expert of that name, loaded. `UnknownExpert`, `WeightsError` and `BadCard` pass."""
        return self.hold(name, lambda: load_expert(self.catalogue.card(name), self.store))
