"""The paths that competed for an enlargement: of the cleaned photo, of the photo itself, or of the mean of both."""

from __future__ import annotations

from dataclasses import dataclass

from agent.report.text import words
from agent.report.tree import NodeTree, origin
from agent.state import HALF_CLEANED, KEEP_INPUT, UNTOUCHED, Node, Verdict

MIXED = "+"
"""Joins the names of two candidates that the profile's `detail` blends."""
TITLES = {
    "": "Cleaned step by step",
    HALF_CLEANED: "Half cleaned",
    UNTOUCHED: "Without cleaning",
    MIXED: "Mixed by detail",
}


@dataclass(frozen=True, slots=True)
class EnlargementPath:
    """One path, by its best candidate."""

    title: str
    steps: tuple[str, ...]
    verdict: Verdict
    won: bool


def competing_paths(node: Node, tree: NodeTree) -> list[EnlargementPath]:
    """The paths to a node, the winner first; none if there is only one."""
    best: dict[str, Verdict] = {}
    for verdict in sorted(node.verdicts, key=lambda one: (one.expert == node.expert, one.score), reverse=True):
        if verdict.stage == "full":
            best.setdefault(path_of(verdict.expert), verdict)
    if len(best) < 2:
        return []
    before = tree.path[: tree.path.index(node)]
    cleaning = tuple(origin(one) for one in before if one.expert not in (None, KEEP_INPUT))
    done = {"": cleaning, HALF_CLEANED: (*cleaning, "Mean with the photo"), UNTOUCHED: (), MIXED: cleaning}
    paths = []
    for path, verdict in best.items():
        enlarged = f"{words(node.step or '')} by {verdict.expert.removesuffix(path)}"
        paths.append(EnlargementPath(TITLES[path], (*done[path], enlarged), verdict, verdict.expert == node.expert))
    return paths


def path_of(expert: str) -> str:
    """The key in `TITLES` of a candidate's path."""
    suffixes = (path for path in (HALF_CLEANED, UNTOUCHED) if expert.endswith(path))
    return MIXED if MIXED in expert else next(suffixes, "")
