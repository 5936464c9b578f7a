"""The experts, from their cards."""

from __future__ import annotations

from docs.markdown import table
from toolbox.catalogue import default_catalogue
from toolbox.expert_table import IN_PROCESS, availability_of, further_table, reference_table
from toolbox.tasks import Task


def overview() -> str:
    """The experts of each task: what ships with the package, and how many published ones can be added."""
    cards = [card for card in default_catalogue() if card.standalone and availability_of(card) == IN_PROCESS]
    rows = []
    for task in Task:
        own = [card for card in cards if card.task is task]
        embedded = [f"`{card.name}`" for card in own if not card.files]
        rows.append((task.value, ", ".join(embedded), len(own) - len(embedded)))
    return table(("task", "in the package", "published, to download"), rows)


def of_4kagent() -> str:
    """Every expert of 4KAgent and how it is available."""
    return reference_table(default_catalogue())


def further() -> str:
    """Published networks that 4KAgent does not use."""
    return further_table(default_catalogue())
