"""What follows a failed step: another step from the same node, a restart from the input, or a compromise."""

from __future__ import annotations

from agent import planning
from agent.events import RolledBack
from agent.search.search_state import SearchState
from agent.state import KEEP_INPUT, Node, RunState, Step
from toolbox.tasks import Task


def reflect(search: SearchState, step: Step) -> None:
    """Record that `step` has failed from the current node, and move to the node to continue from.

    That is the same node, as long as another step can come first there. If every order has failed, it is the best
    failed result, as in 4KAgent; but once in a run that result only becomes the end of the first branch, and the run
    restarts from the input with another step. If the restart fails with its first step, the first branch goes on.
    Super-resolution and faces are never moved forward: enlarging makes later steps up to sixteen times as expensive
    and enlarges the remaining degradations, and faces are restored after it.
    """
    search.put(_with_failure(search.node, step))
    state, node = search.state, search.node
    may_roll_back = state.profile.rollback and state.profile.plan is None and step.task is not Task.SUPER_RESOLUTION
    if may_roll_back and _first_not_failed(node):
        search.put(_reordered(search, node))
        _tell(search, step, "does not help here; the next steps from here")
    elif node.parent is None and state.restart_node is not None:
        search.move_to(state.nodes[state.restart_node])
        _tell(search, step, "does not help as the first step; back to the first branch")
    else:
        compromise = _compromise(state, node)
        search.put(compromise)
        root = _root_to_restart_from(state) if may_roll_back else None
        if root is None:
            search.move_to(compromise)
            return
        search.change(restart_node=compromise.id)
        search.put(_reordered(search, root))
        search.move_to(root)
        _tell(search, step, "does not help there; restart from the input")


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


def _reordered(search: SearchState, node: Node) -> Node:
    """The node with its remaining steps reordered so that none of the failed ones comes first."""
    with search.timer.section("planning"):
        why = _why_failed(search.state, node)
        steps = planning.reorder(node.remaining_steps, why, search.perception, search.reasoner)
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


def _tell(search: SearchState, step: Step, why: str) -> None:
    node = search.node
    order = ", ".join(map(str, node.remaining_steps)) or "nothing"
    search.tell(RolledBack(step=step, to_node=node.id, reason=f"{step} {why}: {order}"))
