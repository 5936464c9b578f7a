"""Texts about verdicts: candidates of a step, its faces, why its input was kept, which of two images is better."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from agent.judging import Candidate, best_verdict
from agent.regions import RegionMask
from agent.state import KEEP_INPUT, FaceResult, FaceWork, Verdict
from imaging.image import Image
from iqa.candidate_score import own_error
from server.errors import UnknownHandle
from server.mcp.responses import fact
from server.mcp.workspace import CandidateOf, Workspace

MOST_ROWS = 12
MOST_FACES = 8
LEAST_IN_REGION = 0.05
"""Minimum share of a face in a region for it to count as inside."""
PLACES = ("first", "second")


def describe(verdict: Verdict) -> str:
    """A candidate's verdict in one line."""
    if verdict.error:
        return f"{verdict.expert}: {verdict.error}"
    prescreened = " on crops" if verdict.stage == "prescreen" else ""
    return f"{verdict.expert} {verdict.score:.3f}{prescreened}"


def verdict_parts(verdict: Verdict) -> str:
    """The parts of a candidate's score."""
    return (
        f"judged quality {verdict.quality:.3f}, consistency {verdict.consistency:.3f}, "
        f"prior {verdict.expert_prior:+.2f}"
    )


def why_kept(best: Candidate, verdicts: Sequence[Verdict], *, is_chosen: bool) -> str:
    """Why a step kept its input."""
    if best.faces and not best.faces.faces:
        return "no face was found"
    if all(verdict.score <= best.verdict.score for verdict in verdicts):
        return "no expert makes this image better"
    return "this was chosen, though others score better" if is_chosen else "no expert is clearly better"


def face_verdicts(work: FaceWork | None) -> list[Verdict]:
    """The verdicts on the candidates of all faces."""
    return [verdict for face in (work.faces if work else ()) for verdict in face.verdicts]


def override_hint(verdicts: Sequence[Verdict]) -> str:
    """How the caller can select a result although the input was kept."""
    results = [verdict for verdict in verdicts if verdict.expert != KEEP_INPUT and not verdict.error]
    best = max(results, key=lambda verdict: verdict.score, default=None)
    return f"expert = {best.expert} takes that result in any case" if best else ""


def candidates_line(verdicts: Sequence[Verdict]) -> str:
    """A line with the candidates and their scores, the best first."""
    whole = {verdict.expert for verdict in verdicts if verdict.stage != "prescreen"}
    shown = (verdict for verdict in verdicts if verdict.stage != "prescreen" or verdict.expert not in whole)
    ranked = sorted(shown, key=lambda verdict: verdict.score, reverse=True)
    more = f"; {len(ranked) - MOST_ROWS} more" if len(ranked) > MOST_ROWS else ""
    return fact("candidates", "; ".join(map(describe, ranked[:MOST_ROWS])) + more)


def faces_lines(work: FaceWork | None, region: RegionMask | None, image: Image) -> list[str]:
    """Lines with the number of faces and the results of the first ones."""
    if work is None:
        return []
    lines = [fact("faces", f"{len(work.faces)} found by {work.detector}")]
    mask = region(image)[0] if region and work.faces else None
    for number, face in enumerate(work.faces[:MOST_FACES], start=1):
        done = _what_was_done(face, work.same_from)
        if mask is not None and mask[_rows_and_columns(face)].mean() < LEAST_IN_REGION:
            done = "outside the region, unchanged"
        lines.append(fact(f"face {number}", f"{face.width:.0f} px at {face.left:.0f},{face.top:.0f}: {done}"))
    return lines


def judgement_of(workspace: Workspace, handle: str) -> CandidateOf | None:
    """The step and verdict of an image that was judged as it is; None for other images."""
    with suppress(UnknownHandle):
        candidate = workspace.candidate(handle)
        return candidate if candidate and not candidate.is_modified else None
    return None


def judged_on(candidate: CandidateOf) -> str:
    """The step and input that a verdict belongs to."""
    return f"{candidate.step} on {candidate.parent}"


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


def better_by_verdict(candidate: CandidateOf, verdicts: tuple[Verdict, Verdict]) -> str:
    """A line that names the better image, by the rule of Q-MoE."""
    best = PLACES[verdicts.index(best_verdict(verdicts))]
    is_tie = abs(verdicts[0].score - verdicts[1].score) <= own_error()
    how = "a tie by score, the more consistent with the input" if is_tie else "by score"
    return fact(
        "better",
        f"{best}, {how} of {judged_on(candidate)}: quality, consistency with the input, what the expert should gain",
    )


def better_by_quality(first: float, second: float) -> str:
    """A line that names the better image, by quality without a reference."""
    better = "neither clearly" if abs(first - second) <= own_error() else PLACES[second > first]
    return fact(
        "better",
        f"{better}, by quality alone: no step has judged both, so their fidelity is unknown; look at them",
    )


def _what_was_done(face: FaceResult, same_from: float) -> str:
    if face.left_alone:
        return face.left_alone
    if face.expert != KEEP_INPUT:
        return f"{face.expert}, identity {face.identity:.2f} of at least {same_from:.2f}"
    refused = [one.error for one in face.verdicts if one.expert != KEEP_INPUT]
    return f"unchanged, {refused[0] if refused and all(refused) else 'no expert was better'}"


def _rows_and_columns(face: FaceResult) -> tuple[slice, slice]:
    """Where a face lies in its picture."""
    top, left = max(0, round(face.top)), max(0, round(face.left))
    return slice(top, round(face.top + face.height)), slice(left, round(face.left + face.width))
