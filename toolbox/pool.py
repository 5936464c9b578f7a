"""Experts that stay loaded, within a memory budget."""

from __future__ import annotations

import threading
from collections import OrderedDict

from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.expert import Expert, load_expert

GIGABYTE = 1 << 30


class ExpertPool:
    """Loads an expert when it is first asked for and keeps it; the least recently used go when it is full.

    Safe to share between threads. `budget_bytes` counts weights; an expert without weights costs nothing.
    """

    def __init__(self, catalogue: Catalogue | None = None, budget_bytes: int = 4 * GIGABYTE) -> None:
        self.catalogue = default_catalogue() if catalogue is None else catalogue
        self._budget = budget_bytes
        self._experts: OrderedDict[str, Expert] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Expert:
        """The expert of that name, loaded. `UnknownExpert`, `WeightsError` and `BadCard` pass."""
        with self._lock:
            if name in self._experts:
                self._experts.move_to_end(name)
                return self._experts[name]
            expert = load_expert(self.catalogue.card(name))
            self._experts[name] = expert
            while len(self._experts) > 1 and sum(map(_weight_bytes, self._experts.values())) > self._budget:
                self._experts.popitem(last=False)
            return expert

    def loaded(self) -> tuple[str, ...]:
        """Names of the experts in memory, the least recently used first."""
        with self._lock:
            return tuple(self._experts)


def _weight_bytes(expert: Expert) -> int:
    return int(getattr(expert, "weight_bytes", 0))
