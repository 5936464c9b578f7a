"""The nodes of a run as the report shows them: the path taken, branches rolled back, and competing enlargements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.report.text import words
from agent.state import HALF_CLEANED, KEEP_INPUT, UNTOUCHED, Node, RunState, Verdict

MIXED = "+"
"""Joins the names of two candidates that the profile's `detail` blends."""
TITLES = {
    "": "Cleaned step by step",
    HALF_CLEANED: "Half cleaned",
    UNTOUCHED: "Without cleaning",
    MIXED: "Mixed by detail",
}


class NodeTree:
    """The path from the input to the current node, and the children of every node."""

    def __init__(self, state: RunState) -> None:
        self._nodes = state.nodes
        self.path = state.path_to(state.current) if state.nodes else ()
        self.current = self.path[-1] if self.path else None
        self._taken = {node.id for node in self.path}
        self.rolled_back = [node for node in state.nodes if not self.is_taken(node)]

    def is_taken(self, node: Node) -> bool:
        """Whether the node is on the path to the current one."""
        return node.id in self._taken

    def parent(self, node: Node) -> Node | None:
        """The input of the node's step."""
        return None if node.parent is None else self._nodes[node.parent]

    def chain(self, node: Node) -> Iterator[Node]:
        """The node and its successors, up to the end of its path or branch."""
        following: Node | None = node
        while following is not None:
            yield following
            following = self._successor(following)

    def branches(self, node: Node) -> list[Node]:
        """The children that do not continue the node's chain."""
        successor = self._successor(node)
        return [child for child in self._children(node) if child is not successor]

    def notes(self, node: Node) -> list[str]:
        """Notes of rollback on the node."""
        notes = [] if self.is_taken(node) else ["rolled back"]
        if node.failed:
            notes.append("the step failed here")
        if node.failed_first_steps:
            notes.append(f"failed as the next step from here: {', '.join(map(words, node.failed_first_steps))}")
        return notes

    def _successor(self, node: Node) -> Node | None:
        """The child on the path taken; in a branch that was rolled back, the first one."""
        children = self._children(node)
        goes_on = bool(children) and (not self.is_taken(node) or self.is_taken(children[0]))
        return children[0] if goes_on else None

    def _children(self, node: Node) -> list[Node]:
        found = [child for child in self._nodes if child.parent == node.id]
        return sorted(found, key=lambda child: not self.is_taken(child))


def origin(node: Node) -> str:
    """The step and the expert that made the node."""
    if node.step is None:
        return "Input"
    return f"{words(node.step)}{', input kept' if node.expert == KEEP_INPUT else f' by {node.expert}'}"


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
            best.setdefault(_path_of(verdict.expert), verdict)
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


def _path_of(expert: str) -> str:
    """The key in `TITLES` of a candidate's path."""
    suffixes = (path for path in (HALF_CLEANED, UNTOUCHED) if expert.endswith(path))
    return MIXED if MIXED in expert else next(suffixes, "")
