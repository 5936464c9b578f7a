"""What becomes of a step that has failed: another order from there, the way again from the input, or a compromise."""

from __future__ import annotations

from agent import planning
from agent.events import RolledBack
from agent.reasoners.reasoner import Reasoner
from agent.run_context import RunContext
from agent.state import KEEP_INPUT, Node, Step
from toolbox.tasks import Task


def reflect(context: RunContext, step: Step, reasoner: Reasoner) -> None:
    """A step has failed: roll back to try another order, or accept a compromise where all have been tried.

    Super-resolution is no other order: it costs sixteen times as much and enlarges what is still wrong. Nor
    are faces, which come after it.
    """
    node = context.node
    failed_first_steps = (*node.failed_first_steps, step)
    node = node.model_copy(update={"failed_first_steps": failed_first_steps})
    profile = context.state.profile
    others = [
        other for other in node.remaining_steps if other not in failed_first_steps and not other.task.spec.is_late
    ]
    if not others or not profile.rollback or profile.plan is not None or step.task is Task.SUPER_RESOLUTION:
        context.replace(node)
        _give_up_here(context, step, reasoner)
        return
    node = _replanned(context, node, reasoner)
    context.replace(node)
    _tell_rollback(context, step, node, "does not help here; next from here")


def left_of(node: Node) -> tuple[Step, ...]:
    """What is left of a node's remaining steps after a first step that has changed nothing.

    Nothing that has failed here comes next, since it would fail again; without anything else, it is not tried again.
    """
    left = node.remaining_steps[1:]
    other = next((step for step in left if step not in node.failed_first_steps and not step.task.spec.is_late), None)
    if other is None:
        return tuple(step for step in left if step not in node.failed_first_steps)
    if left[0] not in node.failed_first_steps:
        return left
    return (other, *(step for step in left if step != other))


def resume_better_branch(context: RunContext) -> None:
    """Where the run began once more from its input: go on from the better end of the two ways."""
    first, state = context.state.restart_node, context.state
    if first is not None and state.gain_of(first) > state.gain_of(state.current):
        context.move_to(state.nodes[first])


def _give_up_here(context: RunContext, step: Step, reasoner: Reasoner) -> None:
    """No order helps from this node: once more from the input, if that may help, or on with a compromise."""
    node, first = context.node, context.state.restart_node
    if node.parent is None and first is not None:
        end = context.state.nodes[first]
        context.move_to(end)
        _tell_rollback(context, step, end, "does not help as a beginning; on with the first way")
        return
    _compromise(context)
    root = None if step.task is Task.SUPER_RESOLUTION else _other_beginning(context, node)
    if root:
        root = _replanned(context, root, reasoner)
        context.begin_again(root)
        _tell_rollback(context, step, root, "does not help there; once more from the input")


def _replanned(context: RunContext, node: Node, reasoner: Reasoner) -> Node:
    """The node with its remaining steps in an order that does not begin with what has failed."""
    with context.timer.section("planning"):
        remaining_steps = planning.reorder(
            node.remaining_steps, _why_failed(context, node), context.perception, reasoner
        )
    return node.model_copy(update={"remaining_steps": remaining_steps})


def _tell_rollback(context: RunContext, step: Step, to: Node, why: str) -> None:
    order = ", ".join(map(str, to.remaining_steps)) or "nothing"
    context.tell(RolledBack(step=step, to_node=to.id, reason=f"{step} {why}: {order}"))


def _other_beginning(context: RunContext, node: Node) -> Node | None:
    """The input's node, not to begin as the way to `node` did; None where it is not to be gone back to.

    Once in a run, before anything has been enlarged, and where the ends of both ways can be compared.
    """
    profile, path = context.state.profile, context.state.path_to(node.id)
    steps = [one.step for one in path if one.step is not None]
    enlarged = any(step.task is Task.SUPER_RESOLUTION for step in steps)
    may = profile.rollback and profile.plan is None and profile.keep_input
    if not may or not steps or enlarged or context.state.restart_node is not None:
        return None
    failed_first_steps = (*path[0].failed_first_steps, steps[0])
    others = [
        step for step in path[0].remaining_steps if step not in failed_first_steps and not step.task.spec.is_late
    ]
    return path[0].model_copy(update={"failed_first_steps": failed_first_steps}) if others else None


def _why_failed(context: RunContext, node: Node) -> dict[Step, str]:
    """What has failed as the next step from a node, and why."""
    tried = {child.step: child for child in context.state.nodes if child.parent == node.id and child.failed}
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


def _compromise(context: RunContext) -> None:
    """Every order has failed here: go on from the best of the failed children (4KAgent's compromise)."""
    failed = [child for child in context.state.nodes if child.parent == context.node.id and child.failed]
    best = max(failed, key=lambda child: child.score)
    if best.expert == KEEP_INPUT:
        # The image is still the same, so what did not help before would not help now.
        useless = [child.step for child in failed]
        best = best.model_copy(
            update={"remaining_steps": tuple(step for step in best.remaining_steps if step not in useless)}
        )
        context.replace(best)
    context.move_to(best)
