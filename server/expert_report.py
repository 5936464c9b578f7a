"""An expert as shown in lists. Loads no heavy library."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from toolbox.availability import State, availability
from toolbox.card import ExpertCard
from toolbox.store import ModelStore
from toolbox.tasks import Task


class ExpertReport(BaseModel, extra="forbid"):
    """One expert, and whether it can run here."""

    name: str
    task: Task
    scale: int
    preference: Literal["fidelity", "perception", "any"]
    about: str
    licence: str = Field(description="Licences of code and weights.")
    commercial: Literal["yes", "no", "ask"] = Field(description="Whether the licence allows commercial use.")
    state: State
    advice: str = Field(description="What to do before it can run, or why it cannot run; empty if it can.")

    @classmethod
    def of(cls, card: ExpertCard, store: ModelStore) -> ExpertReport:
        """The report of a card, given the models in `store`."""
        found = availability(card, store)
        facts = card.model_dump(include={"name", "task", "scale", "preference", "about", "commercial"})
        return cls(**facts, licence=card.licences, state=found.state, advice=found.advice)

    def line(self, *, detail: bool) -> str:
        """The expert in one line."""
        scale = f" {self.scale}x" if self.scale > 1 else ""
        line = f"{self.name}: {self.task.value}{scale}"
        if self.state != "embedded":
            line += f", {self.state}"
        if detail:
            commercial = "" if self.commercial == "yes" else f", commercial use: {self.commercial}"
            line += f"; {self.about} ({self.licence}{commercial})" + (f" {self.advice}" if self.advice else "")
        return line
