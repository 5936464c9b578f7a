"""Markdown tables of published experts, from their cards; docs/experts.md shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from toolbox.card import ClassicalCard, DiffusionCard, ExpertCard, OnnxCard, SpandrelCard, UnavailableCard
from toolbox.catalogue import Catalogue
from toolbox.model_bundles import model_bundles
from toolbox.tasks import Task

IN_PROCESS, BY_EXPORT, REPLACED, IMPOSSIBLE = "in-process", "by export", "replaced", "impossible"


def availability_of(card: ExpertCard) -> str:
    """The availability of an expert on a machine with all downloads."""
    if isinstance(card, OnnxCard):
        return BY_EXPORT
    if isinstance(card, UnavailableCard):
        return REPLACED if card.alternatives else IMPOSSIBLE
    return IN_PROCESS


def reference_table(catalogue: Catalogue) -> str:
    """Every expert of 4KAgent and how it is available here, below a line of counts."""
    best: dict[tuple[Task, str], ExpertCard] = {}
    for card in catalogue:  # the first card of a tool is the one that 4KAgent means
        for tool in card.reference:
            best.setdefault((card.task, tool), card)
    counts = Counter(availability_of(card) for card in best.values())
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in (IN_PROCESS, BY_EXPORT, REPLACED, IMPOSSIBLE))
    tools = {tool.removesuffix("_2x").removesuffix("_16x") for _, tool in best}
    table = _table(((tool, card) for (_, tool), card in best.items()), first="4KAgent's name")
    return f"**{len(best)} experts ({len(tools)} tools): {summary}.**\n\n{table}"


def further_table(catalogue: Catalogue) -> str:
    """Published experts that can be downloaded and that 4KAgent does not use."""
    return _table(((None, card) for card in catalogue if card.files and not card.reference), first=None)


def _table(rows: Iterable[tuple[str | None, ExpertCard]], first: str | None) -> str:
    head = [
        *([first] if first else []),
        "task",
        "here",
        "how",
        "licence",
        "commercial use",
        "architecture",
        "weights",
    ]
    lines = [head, ["---"] * len(head)]
    for tool, card in sorted(rows, key=lambda row: (list(Task).index(row[1].task), row[1].scale)):
        task = card.task.value if card.scale == 1 else f"{card.task.value} {card.scale}x"
        how = availability_of(card)
        if isinstance(card, OnnxCard | UnavailableCard) and card.alternatives:
            how += f"; else {', '.join(card.alternatives)}"
        architecture = card.architecture if isinstance(card, SpandrelCard | DiffusionCard) else None
        name = f"[{card.name}]({card.page})" if card.page else card.name
        facts = [task, name, how, card.licences, card.commercial, architecture or "–", _weights(card)]
        lines.append([*([tool or ""] if first else []), *facts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _weights(card: ExpertCard) -> str:
    if not card.files:
        return "none needed" if isinstance(card, ClassicalCard) else "–"
    parts = []
    if isinstance(card, DiffusionCard):
        parts.append(f"{card.bundle} ({len(model_bundles()[card.bundle].files)} files, can be pulled)")
    if isinstance(card, SpandrelCard | OnnxCard | DiffusionCard) and card.file:
        size = f"{card.file.size / 1e6:.0f} MB" if card.file.size else "size not published"
        checked = "sha256 known" if card.file.sha256 else "sha256 unknown"
        fetched = "can be pulled" if card.file.urls else "by hand"
        parts.insert(0, ", ".join([card.file.name, size, checked, fetched]))
    return "; ".join(parts)
