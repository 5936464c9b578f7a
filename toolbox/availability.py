"""Whether an expert can run here, and if not, what to do about it; loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from toolbox.card import ExpertCard
from toolbox.store import ModelStore

LIBRARIES = {"extra-arches": "spandrel_extra_arches", "metrics": "pyiqa"}
"""What each extra installs."""
State = Literal["embedded", "ready", "can be pulled", "needs extra", "by hand", "not available"]


@dataclass(frozen=True, slots=True)
class Availability:
    """The state of an expert."""

    state: State
    advice: str = ""

    @property
    def can_run(self) -> bool:
        """Whether Q-MoE may count on it."""
        return self.state in ("embedded", "ready")


def availability(card: ExpertCard, store: ModelStore) -> Availability:
    """Whether the expert of a card can run, with the models in `store`."""
    if card.loader == "none":
        instead = f"; instead: {', '.join(card.instead)}" if card.instead else ""
        return Availability("not available", card.why + instead)
    if card.extra and find_spec(LIBRARIES[card.extra]) is None:
        return Availability("needs extra", f"pip install 'restore4k[{card.extra}]'")
    if card.file is None:
        return Availability("embedded")
    if store.has(card.file.name):
        return Availability("ready")
    if card.file.urls:
        return Availability("can be pulled", f"restore4k models pull {card.name}")
    return Availability("by hand", f"download {card.file.name} from {card.page} and put it into {store.folder}")
