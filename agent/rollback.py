"""What becomes of a step that has failed: another order from there, the way again from the input, or a compromise."""

from __future__ import annotations

from agent import planning
from agent.events import RolledBack
from agent.journal import Journal
from agent.reasoner import Reasoner
from agent.state import KEEP_INPUT, Node, Step
from toolbox.tasks import Task

LATE = (Task.SUPER_RESOLUTION, Task.FACE_RESTORATION)
"""No way begins with these as long as there is something else to do."""


def reflect(journal: Journal, step: Step, reasoner: Reasoner) -> None:
    """A step has failed: roll back to try another order, or settle where all have been tried.

    Super-resolution is no other order: it costs sixteen times as much and enlarges what is still wrong. Nor
    are faces, which come after it.
    """
    node = journal.node
    not_first = (*node.not_first, step)
    node = node.model_copy(update={"not_first": not_first})
    profile = journal.state.profile
    others = [other for other in node.agenda if other not in not_first and other.task not in LATE]
    if not others or not profile.rollback or profile.plan is not None or step.task is Task.SUPER_RESOLUTION:
        journal.replace(node)
        _give_up_here(journal, step, reasoner)
        return
    node = _replanned(journal, node, reasoner)
    journal.replace(node)
    _tell_rollback(journal, step, node, "does not help here; next from here")


def left_of(node: Node) -> tuple[Step, ...]:
    """What is left of a node's agenda after a first step that has changed nothing.

    Nothing that has failed here comes next, since it would fail again; without anything else, it is not tried again.
    """
    left = node.agenda[1:]
    other = next((step for step in left if step not in node.not_first and step.task not in LATE), None)
    if other is None:
        return tuple(step for step in left if step not in node.not_first)
    if left[0] not in node.not_first:
        return left
    return (other, *(step for step in left if step != other))


def settle(journal: Journal) -> None:
    """Where the run began once more from its input: go on from the better end of the two ways."""
    first, state = journal.state.set_aside, journal.state
    if first is not None and state.gain_of(first) > state.gain_of(state.current):
        journal.move_to(state.nodes[first])


def _give_up_here(journal: Journal, step: Step, reasoner: Reasoner) -> None:
    """No order helps from this node: once more from the input, if that may help, or on with a compromise."""
    node, first = journal.node, journal.state.set_aside
    if node.parent is None and first is not None:
        end = journal.state.nodes[first]
        journal.move_to(end)
        _tell_rollback(journal, step, end, "does not help as a beginning; on with the first way")
        return
    _compromise(journal)
    root = None if step.task is Task.SUPER_RESOLUTION else _other_beginning(journal, node)
    if root:
        root = _replanned(journal, root, reasoner)
        journal.begin_again(root)
        _tell_rollback(journal, step, root, "does not help there; once more from the input")


def _replanned(journal: Journal, node: Node, reasoner: Reasoner) -> Node:
    """The node with its agenda in an order that does not begin with what has failed."""
    with journal.clock.part("planning"):
        agenda = planning.reorder(node.agenda, _why_failed(journal, node), journal.perception, reasoner)
    return node.model_copy(update={"agenda": agenda})


def _tell_rollback(journal: Journal, step: Step, to: Node, why: str) -> None:
    order = ", ".join(map(str, to.agenda)) or "nothing"
    journal.tell(RolledBack(step=step, to_node=to.id, reason=f"{step} {why}: {order}"))


def _other_beginning(journal: Journal, node: Node) -> Node | None:
    """The input's node, not to begin as the way to `node` did; None where it is not to be gone back to.

    Once in a run, before anything has been enlarged, and where the ends of both ways can be compared.
    """
    profile, path = journal.state.profile, journal.state.path_to(node.id)
    steps = [one.step for one in path if one.step is not None]
    enlarged = any(step.task is Task.SUPER_RESOLUTION for step in steps)
    may = profile.rollback and profile.plan is None and profile.keep_input
    if not may or not steps or enlarged or journal.state.set_aside is not None:
        return None
    not_first = (*path[0].not_first, steps[0])
    others = [step for step in path[0].agenda if step not in not_first and step.task not in LATE]
    return path[0].model_copy(update={"not_first": not_first}) if others else None


def _why_failed(journal: Journal, node: Node) -> dict[Step, str]:
    """What has failed as the next step from a node, and why."""
    tried = {child.step: child for child in journal.state.nodes if child.parent == node.id and child.failed}
    return {step: _told(tried[step]) if step in tried else "it was rolled back" for step in node.not_first}


def _told(child: Node) -> str:
    scores = {verdict.expert: verdict.score for verdict in child.verdicts if verdict.error is None}
    before = scores.pop(KEEP_INPUT, None)
    if not scores:
        return "every expert failed"
    best = max(scores, key=lambda name: scores[name])
    told = f"the best expert, {best}, scored {scores[best]:.3f}"
    return told if before is None else f"{told}, the untouched image {before:.3f}"


def _compromise(journal: Journal) -> None:
    """Every order has failed here: go on from the best of the failed children (4KAgent's compromise)."""
    failed = [child for child in journal.state.nodes if child.parent == journal.node.id and child.failed]
    best = max(failed, key=lambda child: child.score)
    if best.expert == KEEP_INPUT:
        # The image is still the same, so what did not help before would not help now.
        useless = [child.step for child in failed]
        best = best.model_copy(update={"agenda": tuple(step for step in best.agenda if step not in useless)})
        journal.replace(best)
    journal.move_to(best)
