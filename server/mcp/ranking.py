"""Ranks two versions of a picture: by the verdicts of the step that they come from, otherwise by quality."""

from __future__ import annotations

from contextlib import suppress

from agent.judging import best_verdict
from agent.state import Verdict
from iqa.candidate_score import own_error
from server.errors import UnknownHandle
from server.mcp.responses import fact
from server.mcp.workspace import CandidateOf, Workspace

PLACES = ("first", "second")


def judged_on(made: CandidateOf) -> str:
    """The step and input that a verdict belongs to."""
    return f"{made.step} on {made.parent}"


def common_verdicts(
    workspace: Workspace, first: str, second: str
) -> tuple[CandidateOf, tuple[Verdict, Verdict]] | None:
    """The verdicts of one step on two images, candidates or its input; None if no step judged both."""
    one, two = judgement_of(workspace, first), judgement_of(workspace, second)
    if one and two and (one.parent, one.step) == (two.parent, two.step):
        return one, (one.verdict, two.verdict)
    if two and two.parent == first and two.input_verdict:
        return two, (two.input_verdict, two.verdict)
    if one and one.parent == second and one.input_verdict:
        return one, (one.verdict, one.input_verdict)
    return None


def better_by_verdict(made: CandidateOf, verdicts: tuple[Verdict, Verdict]) -> str:
    """A line that names the better image, by the rule of Q-MoE."""
    best = PLACES[verdicts.index(best_verdict(verdicts))]
    is_tie = abs(verdicts[0].score - verdicts[1].score) <= own_error()
    how = "a tie by score, the more consistent with the input" if is_tie else "by score"
    return fact(
        "better",
        f"{best}, {how} of {judged_on(made)}: quality, consistency with the input, what the expert should gain",
    )


def better_by_quality(first: float, second: float) -> str:
    """A line that names the better image, by quality without a reference."""
    better = "neither clearly" if abs(first - second) <= own_error() else PLACES[second > first]
    return fact(
        "better",
        f"{better}, by quality alone: no step has judged both, so their fidelity is unknown; look at them",
    )


def judgement_of(workspace: Workspace, handle: str) -> CandidateOf | None:
    """The step and verdict of an image that was judged as it is; None for other images."""
    with suppress(UnknownHandle):
        made = workspace.candidate(handle)
        return made if made and not made.is_modified else None
    return None
