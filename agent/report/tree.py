"""The nodes of a run as the report shows them: the path taken, and the branches that were rolled back."""

from __future__ import annotations

from collections.abc import Iterator

from agent.report.text import words
from agent.state import KEEP_INPUT, Node, RunState


class NodeTree:
    """The path from the input to the current node, and the children of every node."""

    def __init__(self, state: RunState) -> None:
        self._nodes = {node.id: node for node in state.nodes}
        self.current = self._nodes.get(state.current)
        self.path: list[Node] = []
        node = self.current
        while node is not None and node not in self.path:
            self.path.insert(0, node)
            node = self.parent(node)
        self._taken = {node.id for node in self.path}
        self.roots = [node for node in state.nodes if node.parent is None]
        self.rolled_back = [node for node in state.nodes if not self.is_taken(node)]

    def is_taken(self, node: Node) -> bool:
        """Whether the node is on the path to the current one."""
        return node.id in self._taken

    def parent(self, node: Node) -> Node | None:
        """The input of the node's step."""
        return None if node.parent is None else self._nodes.get(node.parent)

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
        found = [child for child in self._nodes.values() if child.parent == node.id and child.id != node.id]
        return sorted(found, key=lambda child: not self.is_taken(child))


def origin(node: Node) -> str:
    """The step and the expert that made the node."""
    if node.step is None:
        return "Input"
    return f"{words(node.step)}{', input kept' if node.expert == KEEP_INPUT else f' by {node.expert}'}"
