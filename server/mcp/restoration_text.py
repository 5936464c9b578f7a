"""The text of the reply about a restoration: findings, steps, and what was not restored, with reasons."""

from __future__ import annotations

from typing import Any

from mcp.types import CallToolResult

from agent.reasoners.reasoner import CALLER
from agent.run import Restoration
from agent.state import KEEP_INPUT, Node, Perception, Plan, RunState
from agent.worth import SURE
from profiles.loading import predefined_profiles
from server.mcp.previews import BeforeAndAfter
from server.mcp.responses import fact, picture_line, picture_link, picture_response, report_link
from server.schemas import Picture
from toolbox.tasks import Task

MOST_WARNINGS = 6
MOST_REASONS = 4
PLAN_GIVEN = "the profile gives the plan"
"""A reason of `agent.planning`, to which the caller's plan is part of the profile."""


def restoration_response(
    restored: Restoration,
    picture: Picture,
    original: Picture,
    seen: BeforeAndAfter | None,
    region: str | None = None,
) -> CallToolResult:
    """The reply about a finished restoration: facts, pictures, links, and the report for the view."""
    return picture_response(
        [*_facts(restored, picture, original, region), seen.line if seen else ""],
        *(seen.pictures if seen else ()),
        picture_link(picture, "The restored picture", restored.state.output),
        report_link(restored.folder.name),
        meta={"restore4k/report": _view_report(restored, picture, original)},
    )


def _facts(restored: Restoration, picture: Picture, original: Picture, region: str | None) -> list[str]:
    state, taken = restored.state, [node for node in restored.path_taken() if node.step is not None]
    return [
        f"Restored to {picture.width}x{picture.height}: {what_was_done(restored)}; saved as {state.output}.",
        picture_line(picture),
        fact("file", state.output),
        found_line(state.perception) if state.perception else "",
        fact("steps", "; ".join(map(_step, taken))),
        fact("left", "; ".join(restored.left())),
        fact("reasons", "; ".join(_reasons(restored))),
        fact("strength", state.strength if state.strength < 1 else None),
        fact("region", f"{region or 'as given'}; unchanged outside it" if state.is_masked else None),
        *(fact("note", warning) for warning in state.warnings[:MOST_WARNINGS]),
        fact("plan by", _planner(state)),
        fact("run", state.id),
        fact("seconds", round(sum(state.seconds.values()), 1)),
        fact("models", state.model_use.summary),
        fact("undo", f"{original.handle} is the photo as it was"),
    ]


def _view_report(restored: Restoration, picture: Picture, original: Picture) -> dict[str, Any]:
    """The facts that the view needs."""
    summary = restored.summary()
    return {
        "summary": f"Restored to {picture.width}x{picture.height}: {what_was_done(restored)}.",
        "image": picture.model_dump(),
        "original": original.handle,
        "file": summary.output,
        "run": restored.state.id,
        "steps": [step.model_dump() for step in summary.steps],
        "warnings": summary.warnings,
    }


def found_line(perception: Perception) -> str:
    """The degradations that are present, the worst first, with the confidence unless the caller gave them."""
    found = []
    for name in perception.present():
        finding = perception.findings[name]
        doubt = ", in doubt" if finding.confidence < SURE else ""
        basis = "given" if perception.by == CALLER else f"{finding.confidence:.2f}{doubt}"
        found.append(f"{name.value.replace('_', ' ')} {finding.severity.words} ({basis})")
    return fact("found", "; ".join(found) or "nothing severe")


def plan_line(plan: Plan) -> str:
    """Steps and final size."""
    steps = ", ".join(map(str, plan.steps)) or "nothing to do"
    return fact("plan", f"{steps}; to {plan.final_width}x{plan.final_height}")


def progress_lines(state: RunState) -> list[str]:
    """Findings, plan and finished steps of a run that has not ended."""
    return [
        found_line(state.perception) if state.perception else "",
        plan_line(state.plan) if state.plan else "",
        *map(step_line, state.path_to(state.current)[1:]),
    ]


def step_line(node: Node) -> str:
    """A finished step of a run that has not ended."""
    return fact("done", f"{node.step}: {'input kept' if node.expert == KEEP_INPUT else node.expert}")


def what_was_done(restored: Restoration) -> str:
    """The steps that changed the image, and the reason if there are none or the budget ended them."""
    state, nodes = restored.state, restored.path_taken()
    same_size = state.plan and (state.plan.final_width, state.plan.final_height) == (nodes[0].width, nodes[0].height)
    nothing = "left as it was" if same_size else "only resized"
    done = ", ".join(f"{node.step} by {node.expert}" for node in nodes if node.expert not in (None, KEEP_INPUT))
    if nodes[-1].remaining_steps:  # only a spent budget leaves steps
        left = ", ".join(map(str, nodes[-1].remaining_steps))
        return f"{done or nothing}, since the budget was spent before {left}"
    if done:
        return done
    if state.plan and state.plan.steps:
        return f"{nothing}, since no step of the plan made it better"
    return f"{nothing}, since {'no step was needed' if state.profile.plan is None else 'the plan has no step'}"


def _planner(state: RunState) -> str:
    """The author of the plan; a plan that is in no predefined profile is the caller's."""
    if state.profile.plan is None:
        return state.plan.by if state.plan else ""
    own = predefined_profiles().get(state.profile.name)
    return "profile" if own and own.plan == state.profile.plan else "caller"


def _step(node: Node) -> str:
    """A step with its expert, and its score if the input has one: scores of two steps cannot be compared."""
    kept = next((one.score for one in node.verdicts if one.expert == KEEP_INPUT), None)
    if node.expert == KEEP_INPUT:
        return f"{node.step}: input kept, no expert was better"
    results = {one.expert for one in node.verdicts if not one.error}
    if kept is not None:
        return f"{node.step}: {node.expert} (score {node.score:.3f}, input {kept:.3f})"
    return f"{node.step}: {node.expert}" + (f" (best of {len(results)})" if len(results) > 1 else "")


def _reasons(restored: Restoration) -> list[str]:
    """Expected gains of the steps taken, and the reasons that the plan gives for them."""
    state = restored.state
    taken = {node.step.task for node in restored.path_taken() if node.step}
    reasons = [
        f"the {_planner(state)} gives the plan" if reason == PLAN_GIVEN else reason
        for reason in (state.plan.reasons if state.plan else ())
        if " is left" not in reason and not any(task.value in reason for task in Task if task not in taken)
    ]
    expected = [
        f"{task.value} was expected to gain {gain.median_db:.1f} dB"
        for task, gain in (state.perception.gains if state.perception else {}).items()
        if task in taken and gain.median_db > 0
    ]
    return [*expected, *reasons][:MOST_REASONS]
