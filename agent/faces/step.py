"""The face step: crop every face, run every face expert on every crop, paste the best results back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from agent.faces.detection import FaceTools, FoundFace, face_tools, find_faces
from agent.judging import Candidate, Judge, Selection
from agent.state import KEEP_INPUT, FaceResult, FaceWork, Verdict
from agent.step_context import StepContext
from imaging.convert import FloatArray, as_array, from_numpy, to_numpy
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.pixels import copied
from imaging.progress import ProgressToken
from imaging.resizing import resize
from profiles.schema import Profile
from toolbox.card import ExpertCard
from toolbox.errors import ExpertError, RegistryError, WeightsError
from toolbox.expert import Expert, run_expert

if TYPE_CHECKING:
    from toolbox.faces.alignment import Aligned

FACES = "faces"
"""The candidate with the best crop of every face pasted in."""
MOST_FACES = 12
LEAST_GAIN = 0.02
"""Minimum difference in score to the untouched crop.

With the embedded experts on the 31 training faces, 5 undamaged faces are changed instead of 31, and the gain on
degraded ones is 0.10 dB instead of 0.15 dB.
"""
LEAST_OWN_SIDE = 64
"""Minimum side of a crop, in pixels."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """One face with its candidates, the untouched crop first, and the best of them."""

    aligned: Aligned
    result: FaceResult
    untouched: Verdict
    best: Candidate


def run_face_step(context: StepContext, cards: Sequence[ExpertCard]) -> Iterator[Candidate]:
    """Q-MoE per face. The candidates are the input and, if any face has a better crop, the picture with those crops.

    Faces are also detected in `context.original`, and compared with it. `faces` of both candidates lists every face.
    At most `MOST_FACES` faces are treated, the largest first, within the budget of expert runs. Raises `WeightsError`
    if a model for faces is damaged.
    """
    image, original = context.image, context.original or context.image
    with context.timer.section("faces"):
        tools = face_tools(context.experts.store)
        found = find_faces(image, original, tools)
    pixels, cards = as_array(image.pixels), cards[: context.runs_left]
    most_faces = MOST_FACES
    if context.runs_left is not None and cards:
        most_faces = min(most_faces, context.runs_left // len(cards))
    step = _FaceStep(context, cards, tools, as_array(original.pixels))
    results, decided = list[FaceResult](), list[_Decided]()
    for index, one in enumerate(found):
        if why := _why_left_alone(context, one, index, most_faces):
            results.append(_result(one, left_alone=why))
            continue
        part = context.token.part(index / len(found), (index + 1) / len(found))
        decided.append(step.decide(pixels, one, part))
        results.append(decided[-1].result)
    yield from _candidates(context, tools, results, decided)


def _why_left_alone(context: StepContext, one: FoundFace, index: int, most_faces: int) -> str:
    """Why the face is skipped; empty if it is treated."""
    if one.face.is_too_small:
        return f"{one.face.size:.0f} pixels are too few for a faithful result"
    if index >= most_faces:
        return f"only the largest {most_faces} faces are treated"
    if context.is_out_of_time:
        return f"the budget of {context.profile.max_seconds:g} seconds is spent"
    return ""


def _candidates(
    context: StepContext, tools: FaceTools, results: Sequence[FaceResult], decided: Sequence[_Decided]
) -> Iterator[Candidate]:
    """The input, and the picture with the best crop of every face."""
    from toolbox.faces.alignment import paste_into

    work = FaceWork(
        detector=tools.detector.name,
        identity=tools.identity.name,
        quality=tools.quality_name,
        same_from=tools.identity.same_from,
        faces=tuple(results),
    )
    changes = [
        (one.aligned, to_numpy(one.best.image.pixels))
        for one in decided
        if one.best.image is not None and one.best.verdict.expert != KEEP_INPUT
    ]
    kept = _mean(KEEP_INPUT, [one.untouched for one in decided])
    # Each face was decided separately; a comparison of whole pictures would hide the gain.
    yield Candidate(kept, None if changes else context.image, work)
    if changes:
        with context.timer.section("faces"):
            pasted = copied(context.image.pixels)
            paste_into(as_array(pasted), changes)
            restored = context.image.with_pixels(pasted).with_note(str(context.step))
        yield Candidate(_mean(FACES, [one.best.verdict for one in decided]), restored, work)


@dataclass(frozen=True, slots=True)
class _FaceStep:
    """Runs the experts on single faces of a step."""

    context: StepContext
    cards: Sequence[ExpertCard]
    tools: FaceTools
    original: FloatArray

    def decide(self, pixels: FloatArray, one: FoundFace, token: ProgressToken) -> _Decided:
        """Run every expert on one face and choose the best result."""
        from toolbox.faces.alignment import align

        with self.context.timer.section("faces"):
            aligned = align(pixels, one.face)
            reference = self._reference(one, aligned.crop, pixels)
        crop = Image(from_numpy(aligned.crop))
        judge = Judge(self.context.for_crop(crop))
        candidates = [self._judged(judge.evaluate_input().verdict, crop, reference)]
        for index, card in enumerate(self.cards):
            part = token.part(index / len(self.cards), (index + 1) / len(self.cards))
            candidates.append(self._run(card, aligned, reference, judge, part))
        best = _winner(candidates, self.context.profile)
        return _Decided(aligned, _result(one, candidates, best), candidates[0].verdict, best)

    def _reference(self, one: FoundFace, crop: FloatArray, pixels: FloatArray) -> FloatArray:
        """The identity embedding of the face in the original, aligned in the same way.

        If earlier steps changed the face beyond recognition (a dark picture), the embedding of the crop itself.
        """
        from toolbox.faces.alignment import align
        from toolbox.faces.identity import similarity

        first = self.original
        x, y = first.shape[1] / pixels.shape[1], first.shape[0] / pixels.shape[0]
        describe = self.tools.identity.describe
        before, now = describe(align(first, one.face.scaled(x, y)).crop), describe(crop)
        return before if similarity(before, now) >= self.tools.identity.same_from else now

    def _run(
        self, card: ExpertCard, aligned: Aligned, reference: FloatArray, judge: Judge, token: ProgressToken
    ) -> Candidate:
        started = time.perf_counter()
        try:
            with self.context.timer.section("experts"):
                result = run_on_crop(self.context.experts.get(card.name, token), aligned, token)
        except (ExpertError, WeightsError, RegistryError, ResourceError) as error:
            return Candidate(Verdict(expert=card.name, score=0.0, error=str(error)))
        seconds = time.perf_counter() - started
        token.check()
        return self._judged(judge.evaluate(card, result, seconds).verdict, result, reference)

    def _judged(self, verdict: Verdict, image: Image, reference: FloatArray) -> Candidate:
        """The candidate with the geometric mean of identity, face quality and score; another person scores 0."""
        from toolbox.faces.identity import similarity

        with self.context.timer.section("scoring"):
            crop = to_numpy(image.pixels)
            identity = similarity(self.tools.identity.describe(crop), reference)
            face_quality = self.tools.quality(crop)
        metrics = {**verdict.metrics, "identity": identity, "face_quality": face_quality}
        same_from = self.tools.identity.same_from
        if identity < same_from:
            message = f"another person: identity {identity:.2f} is below {same_from:.2f}"
            return Candidate(verdict.model_copy(update={"score": 0.0, "metrics": metrics, "error": message}))
        weighted_identity = identity ** (2 * self.context.profile.fidelity_weight)
        score = float((weighted_identity * face_quality * verdict.score) ** (1 / 3))
        return Candidate(verdict.model_copy(update={"score": score, "metrics": metrics}), image)


def run_on_crop(expert: Expert, aligned: Aligned, token: ProgressToken) -> Image:
    """The result of an expert on a crop.

    Face networks take the 512 pixels of the crop. The embedded experts, which were trained on pictures, get a small
    face in its own resolution, and their residual is enlarged.
    """
    crop = Image(from_numpy(aligned.crop))
    side = max(LEAST_OWN_SIDE, round(crop.width / aligned.scale))
    if expert.card.files or side >= crop.width:
        return run_expert(expert, crop, token)
    own = crop.with_pixels(resize(crop.pixels, side, side))
    result = run_expert(expert, own, token)
    before, after = (resize(image.pixels, crop.height, crop.width) for image in (own, result))
    return crop.with_pixels(crop.pixels + after - before)


def _winner(candidates: Sequence[Candidate], profile: Profile) -> Candidate:
    """The winner by the rules of `Selection`, among the candidates that are clearly better than the untouched crop
    or named by the profile.
    """
    selection, untouched = Selection(), candidates[0]
    least = untouched.verdict.score + LEAST_GAIN
    for one in candidates:
        if one.verdict.score > least or one.verdict.expert in profile.experts:
            selection.add(one)
    return selection.winner or untouched


def _result(
    one: FoundFace,
    candidates: Sequence[Candidate] = (),
    best: Candidate | None = None,
    left_alone: str = "",
) -> FaceResult:
    face = one.face
    return FaceResult(
        left=face.left,
        top=face.top,
        width=face.width,
        height=face.height,
        found_in=one.found_in,
        placed_by="size" if face.is_profile else "landmarks",
        expert=best.verdict.expert if best else KEEP_INPUT,
        identity=best.verdict.metrics["identity"] if best else 1.0,
        verdicts=tuple(each.verdict for each in candidates),
        left_alone=left_alone,
    )


def _mean(expert: str, verdicts: Sequence[Verdict]) -> Verdict:
    """Mean over all faces; a perfect score without faces."""
    if not verdicts:
        return Verdict(expert=expert, score=1.0, consistency=1.0)
    metrics = {name: fmean(one.metrics[name] for one in verdicts) for name in ("identity", "face_quality")}
    return Verdict.mean(expert, verdicts, cost=max(one.cost for one in verdicts), metrics=metrics)
