"""What `decide` answers to a failed step, from the state of a run alone."""

from __future__ import annotations

from agent.search.rollback import Compromise, Decision, Restart, ResumeFirstBranch, RetryElsewhere, decide
from agent.state import KEEP_INPUT, Node, RunState, Step
from tests.agent.scripted import profile
from toolbox.tasks import Task

NOISE, RAIN, HAZE = (Step(task=task) for task in (Task.DENOISING, Task.DERAINING, Task.DEHAZING))
ENLARGE = Step(task=Task.SUPER_RESOLUTION, scale=2)


def node(number: int, parent: int | None, step: Step | None, *remaining: Step, **keys: object) -> Node:
    given = {"id": number, "parent": parent, "step": step, "remaining_steps": remaining, "expert": KEEP_INPUT, **keys}
    return Node.model_validate({"width": 8, "height": 8, **given})


def decision(step: Step, *nodes: Node, current: int = 0, restart_node: int | None = None, **keys: object) -> Decision:
    """On the failure of `step`, which `nodes` record already, with a profile of these keys."""
    state = RunState(
        id="run",
        source="in.png",
        output="out.png",
        overwrite=False,
        profile=profile(**keys),
        reasoner="rules",
        nodes=nodes,
        current=current,
        restart_node=restart_node,
    )
    return decide(state, step)


ROOT = node(0, None, None, NOISE, RAIN, ENLARGE, failed_first_steps=(NOISE,))
FAILED = node(1, 0, NOISE, RAIN, ENLARGE, failed=True, score=0.3)


def test_another_step_is_tried_from_the_same_node_while_one_is_left() -> None:
    assert decision(NOISE, ROOT, FAILED) == RetryElsewhere(ROOT)


def test_without_rollback_the_failed_result_is_the_compromise() -> None:
    best = FAILED.model_copy(update={"remaining_steps": (RAIN, ENLARGE)})
    assert decision(NOISE, ROOT, FAILED, rollback=False) == Compromise(best)
    assert decision(NOISE, ROOT, FAILED, restore_option=None, plan="denoising+deraining") == Compromise(best)


def test_the_compromise_is_the_best_failed_result_and_repeats_no_step_that_failed_on_the_same_pixels() -> None:
    root = ROOT.model_copy(update={"failed_first_steps": (NOISE, RAIN)})
    kept = node(2, 0, RAIN, NOISE, ENLARGE, failed=True, score=0.4)
    assert decision(RAIN, root, FAILED, kept) == Compromise(kept.model_copy(update={"remaining_steps": (ENLARGE,)}))
    changed = kept.model_copy(update={"expert": "derain"})
    assert decision(RAIN, root, FAILED, changed) == Compromise(changed)


def test_super_resolution_that_fails_is_a_compromise_at_once() -> None:
    enlarged = node(1, 0, ENLARGE, NOISE, failed=True, expert="plain_2x")
    root = node(0, None, None, ENLARGE, NOISE, failed_first_steps=(ENLARGE,))
    assert decision(ENLARGE, root, enlarged) == Compromise(enlarged)


LATER = (
    node(0, None, None, HAZE, RAIN, ENLARGE),
    node(1, 0, HAZE, RAIN, ENLARGE, expert="dehaze", failed_first_steps=(RAIN,)),
    node(2, 1, RAIN, ENLARGE, failed=True, score=0.3),
)


def test_without_untried_steps_the_run_restarts_from_the_input() -> None:
    root = LATER[0].model_copy(update={"failed_first_steps": (HAZE,)})
    assert decision(RAIN, *LATER, current=1) == Restart(LATER[2], root)


def test_there_is_no_second_restart() -> None:
    assert decision(RAIN, *LATER, current=1, restart_node=2) == Compromise(LATER[2])


def test_a_restart_that_fails_with_its_first_step_goes_back_to_the_first_branch() -> None:
    root = LATER[0].model_copy(update={"failed_first_steps": (HAZE, RAIN)})
    failed = node(3, 0, RAIN, HAZE, ENLARGE, failed=True)
    nodes = (root, *LATER[1:], failed)
    assert decision(RAIN, *nodes, restart_node=2) == ResumeFirstBranch(LATER[2])
