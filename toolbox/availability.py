"""Whether an expert can run on this machine, and what to do if not; loads no expert."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from toolbox.card import ExpertCard, OnnxCard, UnavailableCard
from toolbox.store import ModelStore

LIBRARIES = {
    "extra-arches": ("spandrel_extra_arches",),
    "onnx": ("onnxruntime",),
    "diffusion": ("diffusers", "transformers"),
}
"""The libraries that each extra installs."""
State = Literal["embedded", "ready", "can be pulled", "needs extra", "by hand", "damaged", "not available"]
CAN_RUN: tuple[State, ...] = ("embedded", "ready")


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an expert can run, and otherwise what to do."""

    state: State
    advice: str = ""

    @property
    def can_run(self) -> bool:
        """Whether the expert can be a candidate."""
        return self.state in CAN_RUN


def availability(card: ExpertCard, store: ModelStore) -> Availability:
    """The availability of a card's expert with the models in `store`."""
    if isinstance(card, UnavailableCard):
        return Availability("not available", card.why + _alternatives(card))
    extra = card.extra_needed
    if extra and not all(map(find_spec, LIBRARIES[extra])):
        return Availability("needs extra", f"pip install 'restore4k[{extra}]'")
    if card.package_needed and not find_spec(card.package_needed):
        return Availability("needs extra", f"pip install {card.package_needed.replace('_', '-')}")
    if not card.files:
        return Availability("embedded")
    for file in card.checked_files:
        if (found := store.wrong_size(file)) is not None:
            return Availability(
                "damaged", f"{file.name} has {found} bytes, not {file.size}; {_again(card, file.name)}"
            )
    missing = [file for file in card.files if not store.has(file.name)]
    if not missing:
        return Availability("ready")
    by_hand = [file.name for file in missing if not file.urls]
    if not by_hand:
        return Availability("can be pulled", f"restore4k models pull {card.name}")
    if isinstance(card, OnnxCard):
        advice = f"export it to {by_hand[0]} and put that file into {store.folder}{_alternatives(card)}"
        return Availability("by hand", advice)
    then = f", then restore4k models pull {card.name}" if len(missing) > len(by_hand) else ""
    return Availability(
        "by hand",
        f"download it from {card.page or 'its page'} and put it as {', '.join(by_hand)} into {store.folder}{then}",
    )


def _again(card: ExpertCard, file: str) -> str:
    return f"restore4k models remove {file}, then restore4k models pull {card.name}"


def _alternatives(card: OnnxCard | UnavailableCard) -> str:
    return f"; instead: {', '.join(card.alternatives)}" if card.alternatives else ""
