"""From where a search continues after a failed step, by the nodes of the run alone."""

from __future__ import annotations

import pytest

from agent.search.rollback import reflect
from agent.search.search_state import SearchState
from agent.state import KEEP_INPUT, Node, Perception, RunState, Step
from tests.agent.scripted import ScriptedPool, profile
from toolbox.tasks import Task

NOISE, RAIN, HAZE = (Step(task=task) for task in (Task.DENOISING, Task.DERAINING, Task.DEHAZING))
ENLARGE = Step(task=Task.SUPER_RESOLUTION, scale=2)


def node(number: int, parent: int | None, step: Step | None, *remaining: Step, **keys: object) -> Node:
    given = {"id": number, "parent": parent, "step": step, "remaining_steps": remaining, "expert": KEEP_INPUT, **keys}
    return Node.model_validate({"width": 8, "height": 8, **given})


def after(step: Step, *nodes: Node, current: int = 0, restart_node: int | None = None, **keys: object) -> SearchState:
    """The search after `step` has failed from the current one of these nodes, with a profile of these keys."""
    state = RunState(
        id="run",
        source="in.png",
        output="out.png",
        overwrite=False,
        profile=profile(**keys),
        reasoner="rules",
        perception=Perception(width=8, height=8, quality=0.5, metrics={}, findings={}, description="", by="rules"),
        nodes=nodes,
        current=current,
        restart_node=restart_node,
    )
    search = SearchState(state, ScriptedPool(), lambda number: pytest.fail(f"image {number} is not needed"))
    reflect(search, step)
    return search


ROOT = node(0, None, None, NOISE, RAIN, ENLARGE)
FAILED = node(1, 0, NOISE, RAIN, ENLARGE, failed=True, score=0.3)


def test_another_step_is_tried_from_the_same_node_while_one_is_left() -> None:
    search = after(NOISE, ROOT, FAILED)
    assert search.node == node(0, None, None, RAIN, NOISE, ENLARGE, failed_first_steps=(NOISE,))
    assert search.state.restart_node is None


def test_without_rollback_the_failed_result_is_the_compromise() -> None:
    best = FAILED.model_copy(update={"remaining_steps": (RAIN, ENLARGE)})
    assert after(NOISE, ROOT, FAILED, rollback=False).node == best
    assert after(NOISE, ROOT, FAILED, restore_option=None, plan="denoising+deraining").node == best


def test_the_compromise_is_the_best_failed_result_and_repeats_no_step_that_failed_on_the_same_pixels() -> None:
    root = ROOT.model_copy(update={"failed_first_steps": (NOISE,)})
    kept = node(2, 0, RAIN, NOISE, ENLARGE, failed=True, score=0.4)
    assert after(RAIN, root, FAILED, kept).node == kept.model_copy(update={"remaining_steps": (ENLARGE,)})
    changed = kept.model_copy(update={"expert": "derain"})
    assert after(RAIN, root, FAILED, changed).node == changed


def test_super_resolution_that_fails_is_a_compromise_at_once() -> None:
    enlarged = node(1, 0, ENLARGE, NOISE, failed=True, expert="plain_2x")
    assert after(ENLARGE, node(0, None, None, ENLARGE, NOISE), enlarged).node == enlarged


LATER = (
    node(0, None, None, HAZE, RAIN, ENLARGE),
    node(1, 0, HAZE, RAIN, ENLARGE, expert="dehaze"),
    node(2, 1, RAIN, ENLARGE, failed=True, score=0.3),
)


def test_without_untried_steps_the_run_restarts_from_the_input() -> None:
    search = after(RAIN, *LATER, current=1)
    assert search.node == node(0, None, None, RAIN, HAZE, ENLARGE, failed_first_steps=(HAZE,))
    assert search.state.restart_node == 2


def test_there_is_no_second_restart() -> None:
    search = after(RAIN, *LATER, current=1, restart_node=2)
    assert (search.node, search.state.restart_node) == (LATER[2], 2)


def test_a_restart_that_fails_with_its_first_step_goes_back_to_the_first_branch() -> None:
    root = LATER[0].model_copy(update={"failed_first_steps": (HAZE,)})
    failed = node(3, 0, RAIN, HAZE, ENLARGE, failed=True)
    assert after(RAIN, root, *LATER[1:], failed, restart_node=2).node == LATER[2]
