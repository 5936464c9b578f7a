"""Whether an expert can run here, and if not, what to do about it; loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from toolbox.card import ExpertCard
from toolbox.store import ModelStore

LIBRARIES = {
    "extra-arches": ("spandrel_extra_arches",),
    "onnx": ("onnxruntime",),
    "diffusion": ("diffusers", "transformers"),
}
"""What each extra installs."""
State = Literal["embedded", "ready", "can be pulled", "needs extra", "by hand", "not available"]
CAN_RUN: tuple[State, ...] = ("embedded", "ready")


@dataclass(frozen=True, slots=True)
class Availability:
    """The state of an expert."""

    state: State
    advice: str = ""

    @property
    def can_run(self) -> bool:
        """Whether Q-MoE may count on it."""
        return self.state in CAN_RUN


def availability(card: ExpertCard, store: ModelStore) -> Availability:
    """Whether the expert of a card can run, with the models in `store`."""
    alternatives = f"; instead: {', '.join(card.alternatives)}" if card.alternatives else ""
    if card.loader == "none":
        return Availability("not available", card.why + alternatives)
    if card.needs and not all(map(find_spec, LIBRARIES[card.needs])):
        return Availability("needs extra", f"pip install 'restore4k[{card.needs}]'")
    if not card.files:
        return Availability("embedded")
    missing = [file for file in card.files if not store.has(file.name)]
    if not missing:
        return Availability("ready")
    by_hand = [file.name for file in missing if not file.urls]
    if not by_hand:
        return Availability("can be pulled", f"restore4k models pull {card.name}")
    if card.loader == "onnx":
        return Availability("by hand", f"export it to {by_hand[0]} and put that into {store.folder}{alternatives}")
    then = f", then restore4k models pull {card.name}" if len(missing) > len(by_hand) else ""
    return Availability(
        "by hand",
        f"download it from {card.page or 'its page'} and put it as {', '.join(by_hand)} into {store.folder}{then}",
    )
