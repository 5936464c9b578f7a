"""The text of the reply about a step: candidates with their scores, faces, and why the input was kept."""

from __future__ import annotations

from collections.abc import Sequence

from agent.judging import Candidate
from agent.regions import RegionMask
from agent.state import KEEP_INPUT, FaceResult, FaceWork, Verdict
from imaging.image import Image
from server.mcp.responses import fact

MOST_ROWS = 12
MOST_FACES = 8
LEAST_IN_REGION = 0.05
"""Minimum share of a face in a region for it to count as inside."""


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
    made = [verdict for verdict in verdicts if verdict.expert != KEEP_INPUT and not verdict.error]
    best = max(made, key=lambda verdict: verdict.score, default=None)
    return f"expert = {best.expert} takes that result in any case" if best else ""


def candidates_line(verdicts: Sequence[Verdict]) -> str:
    """A line with the candidates and their scores, the best first."""
    whole = {verdict.expert for verdict in verdicts if verdict.stage != "prescreen"}
    told = (verdict for verdict in verdicts if verdict.stage != "prescreen" or verdict.expert not in whole)
    ranked = sorted(told, key=lambda verdict: verdict.score, reverse=True)
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
