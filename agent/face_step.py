"""The face step: every face cut out, every face expert on every crop, the best of each pasted back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from agent.faces import FaceTools, FoundFace, face_tools, find_faces
from agent.judging import Candidate, Judge, Selection
from agent.state import KEEP_INPUT, FaceResult, FaceWork, Step, Verdict
from agent.timer import Timer
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
from toolbox.pool import ExpertPool

if TYPE_CHECKING:
    from toolbox.faces.alignment import Aligned

FACES = "faces"
"""The candidate that is the picture with the best crop of every face."""
MOST_FACES = 12
LEAST_GAIN = 0.02
"""By how much a crop must be ahead of the untouched one.

With the embedded experts on the 31 training faces: 5 of the undamaged ones are changed instead of 31, and of the
0.15 dB gained on degraded ones 0.10 dB remain.
"""
LEAST_OWN_SIDE = 64
"""Pixels of a crop that an expert sees at least."""


@dataclass(frozen=True, slots=True)
class _Contestant:
    """One crop of one face: its verdict, and its pixels where it may win."""

    verdict: Verdict
    crop: FloatArray | None


def run_face_step(
    image: Image,
    step: Step,
    cards: Sequence[ExpertCard],
    profile: Profile,
    experts: ExpertPool,
    *,
    token: ProgressToken | None = None,
    timer: Timer | None = None,
    description: str = "",
    original: Image | None = None,
    most_faces: int = MOST_FACES,
    most_runs: int | None = None,
) -> Iterator[Candidate]:
    """Q-MoE per face. The candidates are the input and, where any face has a better crop, the picture with these.

    `original`: what the run began with; faces are looked for there too, and are compared with what they were there.
    The `faces` of both candidates tell of every face. The largest `most_faces` are treated, and no more than there
    are `most_runs` of experts for. Raises `WeightsError` where a file for faces is damaged.
    """
    from toolbox.faces.alignment import paste_into

    token, timer = token or ProgressToken(), timer or Timer()
    original = original or image
    with timer.section("faces"):
        tools = face_tools(experts.store)
        found = find_faces(image, original, tools)
    pixels = as_array(image.pixels)
    cards = cards[:most_runs]
    table = _Table(step, cards, profile, experts, timer, description, tools, original)
    if most_runs is not None and cards:
        most_faces = min(most_faces, most_runs // len(cards))
    results, changes, pairs = [], [], []
    for index, one in enumerate(found):
        part = token.part(index / len(found), (index + 1) / len(found))
        why = table.why_left_alone(one, index, most_faces)
        if why:
            results.append(_result(one, left_alone=why))
            continue
        aligned, contestants = table.candidates_for(pixels, one, part)
        best = _winner(contestants, profile)
        results.append(_result(one, contestants, best))
        untouched = next(each.verdict for each in contestants if each.verdict.expert == KEEP_INPUT)
        pairs.append((untouched, best.verdict))
        if best.crop is not None and best.verdict.expert != KEEP_INPUT:
            changes.append((aligned, best.crop))
    work = FaceWork(
        detector=tools.detector.name,
        identity=tools.identity.name,
        quality=tools.quality_name,
        same_from=tools.identity.same_from,
        faces=tuple(results),
    )
    kept = _mean(KEEP_INPUT, [before for before, _ in pairs])
    if not changes:
        yield Candidate(kept, image, work)
        return
    # The faces have been decided one by one: against the whole picture their gain would drown.
    yield Candidate(kept, None, work)
    with timer.section("faces"):
        pasted = copied(image.pixels)
        paste_into(as_array(pasted), changes)
        restored = image.with_pixels(pasted)
    yield Candidate(_mean(FACES, [after for _, after in pairs]), restored, work)


@dataclass(frozen=True, slots=True)
class _Table:
    """What all faces of a step have in common."""

    step: Step
    cards: Sequence[ExpertCard]
    profile: Profile
    experts: ExpertPool
    timer: Timer
    description: str
    tools: FaceTools
    original: Image

    def why_left_alone(self, one: FoundFace, index: int, most_faces: int) -> str:
        """The reason; empty where the face is treated."""
        profile = self.profile
        if one.face.is_too_small:
            return f"{one.face.size:.0f} pixels are too few to be true to"
        if index >= most_faces:
            return f"only the largest {most_faces} faces are treated"
        if profile.max_seconds is not None and self.timer.total() >= profile.max_seconds:
            return f"the budget of {profile.max_seconds:g} seconds is spent"
        return ""

    def candidates_for(
        self, pixels: FloatArray, one: FoundFace, token: ProgressToken
    ) -> tuple[Aligned, list[_Contestant]]:
        """The crop as it is, and every candidate for it, the untouched crop first."""
        from toolbox.faces.alignment import align

        with self.timer.section("faces"):
            aligned = align(pixels, one.face)
            wanted = self._reference(one, aligned.crop, pixels)
        judge = Judge(
            Image(from_numpy(aligned.crop)), self.step, self.profile, self.experts, self.timer, self.description
        )
        contestants = [self._judged(judge.evaluate_input().verdict, aligned.crop, wanted)]
        for index, card in enumerate(self.cards):
            part = token.part(index / len(self.cards), (index + 1) / len(self.cards))
            contestants.append(self._run(card, aligned, wanted, judge, part))
        return aligned, contestants

    def _reference(self, one: FoundFace, crop: FloatArray, pixels: FloatArray) -> FloatArray:
        """The description of the face in the original, cut out in the same way.

        Where the steps before this one have changed it beyond recognition (a dark picture), that of the crop itself.
        """
        from toolbox.faces.alignment import align
        from toolbox.faces.identity import similarity

        first = as_array(self.original.pixels)
        x, y = first.shape[1] / pixels.shape[1], first.shape[0] / pixels.shape[0]
        describe = self.tools.identity.describe
        before, now = describe(align(first, one.face.scaled(x, y)).crop), describe(crop)
        return before if similarity(before, now) >= self.tools.identity.same_from else now

    def _run(
        self, card: ExpertCard, aligned: Aligned, wanted: FloatArray, judge: Judge, token: ProgressToken
    ) -> _Contestant:
        started = time.perf_counter()
        try:
            with self.timer.section("experts"):
                result = run_on_crop(self.experts.get(card.name), aligned, token)
        except (ExpertError, WeightsError, RegistryError, ResourceError) as error:
            return _Contestant(Verdict(expert=card.name, score=0.0, error=str(error)), None)
        seconds = time.perf_counter() - started
        token.check()
        return self._judged(judge.evaluate(card, result, seconds).verdict, to_numpy(result.pixels), wanted)

    def _judged(self, verdict: Verdict, crop: FloatArray, wanted: FloatArray) -> _Contestant:
        """Identity x face quality x general quality, as their geometric mean; a stranger cannot win."""
        from toolbox.faces.identity import similarity

        with self.timer.section("scoring"):
            identity = similarity(self.tools.identity.describe(crop), wanted)
            face_quality = self.tools.quality(crop)
        metrics = {**verdict.metrics, "identity": identity, "face_quality": face_quality}
        same_from = self.tools.identity.same_from
        if identity < same_from:
            message = f"another face: identity {identity:.2f} is below {same_from:.2f}"
            return _Contestant(verdict.model_copy(update={"score": 0.0, "metrics": metrics, "error": message}), None)
        counts = identity ** (2 * self.profile.fidelity_weight)
        score = float((counts * face_quality * verdict.score) ** (1 / 3))
        return _Contestant(verdict.model_copy(update={"score": score, "metrics": metrics}), crop)


def run_on_crop(expert: Expert, aligned: Aligned, token: ProgressToken) -> Image:
    """What an expert makes of a crop.

    Networks for faces want its 512 pixels; the embedded experts, which know pictures and not faces, see a small face
    in its own pixels, and what they change is enlarged.
    """
    crop = Image(from_numpy(aligned.crop))
    side = max(LEAST_OWN_SIDE, round(crop.width / aligned.scale))
    if expert.card.files or side >= crop.width:
        return run_expert(expert, crop, token)
    own = crop.with_pixels(resize(crop.pixels, side, side))
    result = run_expert(expert, own, token)
    before, after = (resize(image.pixels, crop.height, crop.width) for image in (own, result))
    return crop.with_pixels(crop.pixels + after - before)


def _winner(contestants: Sequence[_Contestant], profile: Profile) -> _Contestant:
    """By the same rules as in every other step, among those that are clearly better than the untouched crop, or that
    the profile names.
    """
    selection, by_name = Selection(), {each.verdict.expert: each for each in contestants}
    untouched = by_name[KEEP_INPUT]
    least = untouched.verdict.score + LEAST_GAIN
    for each in contestants:
        if each.crop is not None and (each.verdict.score > least or each.verdict.expert in profile.experts):
            selection.add(Candidate(each.verdict, Image(from_numpy(each.crop))))
    return by_name[selection.winner.verdict.expert] if selection.winner else untouched


def _result(
    one: FoundFace,
    contestants: Sequence[_Contestant] = (),
    best: _Contestant | None = None,
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
        verdicts=tuple(each.verdict for each in contestants),
        left_alone=left_alone,
    )


def _mean(expert: str, verdicts: Sequence[Verdict]) -> Verdict:
    """Of all faces of the picture; without any, there was nothing to do."""
    if not verdicts:
        return Verdict(expert=expert, score=1.0, consistency=1.0)
    return Verdict(
        expert=expert,
        score=fmean(one.score for one in verdicts),
        quality=fmean(one.quality for one in verdicts),
        consistency=fmean(one.consistency for one in verdicts),
        cost=max(one.cost for one in verdicts),
        metrics={name: fmean(one.metrics[name] for one in verdicts) for name in ("identity", "face_quality")},
        seconds=sum(one.seconds for one in verdicts),
    )
