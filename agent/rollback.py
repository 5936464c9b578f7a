"""What follows a failed step: another step from the same node, a restart from the input, or a compromise.

`decide` says which, from the state alone; `reflect` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agent import planning
from agent.events import RolledBack
from agent.reasoners.reasoner import Reasoner
from agent.run_context import RunContext
from agent.state import KEEP_INPUT, Node, RunState, Step
from toolbox.tasks import Task


@dataclass(frozen=True, slots=True)
class RetryElsewhere:
    """Discard the result, and try another step first from the same node."""

    node: Node


@dataclass(frozen=True, slots=True)
class Compromise:
    """Every order has failed from this node: go on from the best of the failed results (as 4KAgent does)."""

    best: Node


@dataclass(frozen=True, slots=True)
class Restart:
    """Set the compromise aside as the end of the first branch, and begin again from the input with another step."""

    compromise: Node
    root: Node


@dataclass(frozen=True, slots=True)
class ResumeFirstBranch:
    """The restart fails with its first step: go on from where the first branch ended."""

    end: Node


Decision: TypeAlias = RetryElsewhere | Compromise | Restart | ResumeFirstBranch


def decide(state: RunState, step: Step) -> Decision:
    """What follows after `step` has failed from the current node, which records that already.

    Super-resolution and faces are not tried instead: enlarging costs sixteen times as much and enlarges what is
    still wrong, and faces come after it.
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


def reflect(context: RunContext, step: Step, reasoner: Reasoner) -> None:
    """Record that `step` has failed from the current node, decide what follows, and go on from there."""
    context.put(_with_failure(context.node, step))
    match decide(context.state, step):
        case RetryElsewhere(node):
            node = _reordered(context, node, reasoner)
            context.put(node)
            _tell(context, step, node, "does not help here; next from here")
        case Compromise(best):
            context.put(best)
            context.move_to(best)
        case Restart(compromise, root):
            context.put(compromise)
            context.change(restart_node=compromise.id)
            root = _reordered(context, root, reasoner)
            context.put(root)
            context.move_to(root)
            _tell(context, step, root, "does not help there; once more from the input")
        case ResumeFirstBranch(end):
            context.move_to(end)
            _tell(context, step, end, "does not help as the first step; back to the first branch")


def resume_better_branch(context: RunContext) -> None:
    """After a restart from the input: go on from the better end of the two branches."""
    first, state = context.state.restart_node, context.state
    if first is not None and state.gain_of(first) > state.gain_of(state.current):
        context.move_to(state.nodes[first])


def left_of(node: Node) -> tuple[Step, ...]:
    """What is left of a node's remaining steps after a first step that has changed nothing.

    Nothing that has failed here comes next, since it would fail again; without anything else, it is not tried again.
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
    """The first remaining step that has not failed as the next one from a node, and is no late one."""
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
    # The image is still the same, so what did not help before would not help now.
    useless = [child.step for child in failed]
    return best.model_copy(
        update={"remaining_steps": tuple(step for step in best.remaining_steps if step not in useless)}
    )


def _root_to_restart_from(state: RunState) -> Node | None:
    """The input's node, not to begin as the way to the current one did; None where there is no restart.

    Once in a run, before anything has been enlarged, and where the ends of both branches can be compared.
    """
    root, *path = state.path_to(state.current)
    steps = [one.step for one in path if one.step is not None]
    enlarged = any(step.task is Task.SUPER_RESOLUTION for step in steps)
    if not steps or enlarged or not state.profile.keep_input or state.restart_node is not None:
        return None
    root = _with_failure(root, steps[0])
    return root if _first_not_failed(root) else None


def _reordered(context: RunContext, node: Node, reasoner: Reasoner) -> Node:
    """The node with its remaining steps in an order that does not begin with what has failed."""
    with context.timer.section("planning"):
        why = _why_failed(context.state, node)
        steps = planning.reorder(node.remaining_steps, why, context.perception, reasoner)
    return node.model_copy(update={"remaining_steps": steps})


def _why_failed(state: RunState, node: Node) -> dict[Step, str]:
    """What has failed as the next step from a node, and why."""
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


def _tell(context: RunContext, step: Step, to: Node, why: str) -> None:
    order = ", ".join(map(str, to.remaining_steps)) or "nothing"
    context.events.tell(RolledBack(step=step, to_node=to.id, reason=f"{step} {why}: {order}"))
