"""Decisions after a failed step: another step from the same node, a restart from the input, or a compromise.

`decide` chooses one from the state alone; `reflect` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agent import planning
from agent.events import RolledBack
from agent.reasoners.reasoner import Reasoner
from agent.search.search_state import SearchState
from agent.state import KEEP_INPUT, Node, RunState, Step
from toolbox.tasks import Task


@dataclass(frozen=True, slots=True)
class RetryElsewhere:
    """Discard the result, and try another step first from the same node."""

    node: Node


@dataclass(frozen=True, slots=True)
class Compromise:
    """Every order has failed from this node: continue from the best failed result, as 4KAgent does."""

    best: Node


@dataclass(frozen=True, slots=True)
class Restart:
    """Keep the compromise as the end of the first branch, and restart from the input with another step."""

    compromise: Node
    root: Node


@dataclass(frozen=True, slots=True)
class ResumeFirstBranch:
    """The restart failed with its first step: continue from the end of the first branch."""

    end: Node


Decision: TypeAlias = RetryElsewhere | Compromise | Restart | ResumeFirstBranch


def decide(state: RunState, step: Step) -> Decision:
    """The decision after `step` has failed from the current node, which already records the failure.

    Super-resolution and faces are never moved forward: enlarging makes later steps up to sixteen times as expensive
    and enlarges the remaining degradations, and faces are restored after it.
    """
    node, profile = state.nodes[state.current], state.profile
    may_roll_back = profile.rollback and profile.plan is None and step.task is not Task.SUPER_RESOLUTION
    if may_roll_back and _first_not_failed(node):
        return RetryElsewhere(node)
    if node.parent is None and state.restart_node is not None:
        return ResumeFirstBranch(state.nodes[state.restart_node])
    best = _compromise(state, node)
    root = _root_to_restart_from(state) if may_roll_back else None
    return Restart(best, root) if root else Compromise(best)


def reflect(search: SearchState, step: Step, reasoner: Reasoner) -> None:
    """Record that `step` has failed from the current node, decide, and move to the node to continue from."""
    search.put(_with_failure(search.node, step))
    match decide(search.state, step):
        case RetryElsewhere(node):
            node = _reordered(search, node, reasoner)
            search.put(node)
            _tell(search, step, node, "does not help here; the next steps from here")
        case Compromise(best):
            search.put(best)
            search.move_to(best)
        case Restart(compromise, root):
            search.put(compromise)
            search.change(restart_node=compromise.id)
            root = _reordered(search, root, reasoner)
            search.put(root)
            search.move_to(root)
            _tell(search, step, root, "does not help there; restart from the input")
        case ResumeFirstBranch(end):
            search.move_to(end)
            _tell(search, step, end, "does not help as the first step; back to the first branch")


def resume_better_branch(search: SearchState) -> None:
    """After a restart from the input: continue from the better end of the two branches."""
    first, state = search.state.restart_node, search.state
    if first is not None and state.gain_of(first) > state.gain_of(state.current):
        search.move_to(state.nodes[first])


def remaining_without_first(node: Node) -> tuple[Step, ...]:
    """A node's remaining steps after a first step that changed nothing.

    Steps that failed on this image would fail again: another step comes first, or they are dropped.
    """
    left = node.remaining_steps[1:]
    other = _first_not_failed(node.model_copy(update={"remaining_steps": left}))
    if other is None:
        return tuple(step for step in left if step not in node.failed_first_steps)
    if left[0] not in node.failed_first_steps:
        return left
    return (other, *(step for step in left if step != other))


def _with_failure(node: Node, step: Step) -> Node:
    return node.model_copy(update={"failed_first_steps": (*node.failed_first_steps, step)})


def _first_not_failed(node: Node) -> Step | None:
    """The first remaining step that is not late and has not failed as the next one from a node."""
    able = (
        step for step in node.remaining_steps if step not in node.failed_first_steps and not step.task.spec.is_late
    )
    return next(able, None)


def _compromise(state: RunState, node: Node) -> Node:
    """The best of the failed children of a node."""
    failed = [child for child in state.nodes if child.parent == node.id and child.failed]
    best = max(failed, key=lambda child: child.score)
    if best.expert != KEEP_INPUT:
        return best
    # The image is unchanged, so the failed steps would fail again.
    useless = [child.step for child in failed]
    return best.model_copy(
        update={"remaining_steps": tuple(step for step in best.remaining_steps if step not in useless)}
    )


def _root_to_restart_from(state: RunState) -> Node | None:
    """The input's node with the first step of the current branch marked as failed; None if there is no restart.

    A run restarts once, before any enlargement, and only if the ends of both branches can be compared.
    """
    root, *path = state.path_to(state.current)
    steps = [one.step for one in path if one.step is not None]
    enlarged = any(step.task is Task.SUPER_RESOLUTION for step in steps)
    if not steps or enlarged or not state.profile.keep_input or state.restart_node is not None:
        return None
    root = _with_failure(root, steps[0])
    return root if _first_not_failed(root) else None


def _reordered(search: SearchState, node: Node, reasoner: Reasoner) -> Node:
    """The node with its remaining steps reordered so that none of the failed ones comes first."""
    with search.timer.section("planning"):
        why = _why_failed(search.state, node)
        steps = planning.reorder(node.remaining_steps, why, search.perception, reasoner)
    return node.model_copy(update={"remaining_steps": steps})


def _why_failed(state: RunState, node: Node) -> dict[Step, str]:
    """The steps that failed as the next one from a node, with the reasons."""
    tried = {child.step: child for child in state.nodes if child.parent == node.id and child.failed}
    return {
        step: _summary(tried[step]) if step in tried else "it was rolled back" for step in node.failed_first_steps
    }


def _summary(child: Node) -> str:
    scores = {verdict.expert: verdict.score for verdict in child.verdicts if verdict.error is None}
    before = scores.pop(KEEP_INPUT, None)
    if not scores:
        return "every expert failed"
    best = max(scores, key=lambda name: scores[name])
    summary = f"the best expert, {best}, scored {scores[best]:.3f}"
    return summary if before is None else f"{summary}, the untouched image {before:.3f}"


def _tell(search: SearchState, step: Step, to: Node, why: str) -> None:
    order = ", ".join(map(str, to.remaining_steps)) or "nothing"
    search.tell(RolledBack(step=step, to_node=to.id, reason=f"{step} {why}: {order}"))
