"""Perception: measure the image, then let a reasoner say what is wrong with it."""

from __future__ import annotations

from agent.faces import face_finding
from agent.reasoner import RULES, SURE, Reasoner
from agent.state import Finding, Perception
from imaging.image import Image
from iqa.content import Content, ContentKind, content_of
from iqa.degradations import compressed, estimates_from
from iqa.quality import quality_of
from iqa.seen import Seen, see
from toolbox.tasks import Degradation

HIDING = (Degradation.DARK, Degradation.DEFOCUS_BLUR, Degradation.MOTION_BLUR)
"""With these, photos of anything look as if they were taken from above or through a microscope."""


def perceive(image: Image, reasoner: Reasoner = RULES, seen: Seen | None = None) -> Perception:
    """What is wrong with `image`; `seen`: what has been seen of it already."""
    return reasoner.perceive(image, measure(image, seen))


def measure(image: Image, seen: Seen | None = None) -> Perception:
    """What the metrics and the estimator say, before anybody has reasoned about it."""
    seen, faces = seen or see(image), face_finding(image)
    measured, content = quality_of(seen), content_of(seen)
    findings = {
        name: Finding(
            severity=estimate.severity,
            confidence=estimate.confidence,
            evidence=dict(estimate.evidence),
            where=estimate.where,
        )
        for name, estimate in estimates_from(seen).items()
    }
    if image.quantisation_of_q50 is not None:
        found = findings[Degradation.JPEG_ARTIFACT]
        findings[Degradation.JPEG_ARTIFACT] = _at_least_as_stated(found, image.quantisation_of_q50)
    looks_alike = faces or any(findings[name].present for name in HIDING)
    if content.kind in (ContentKind.AERIAL, ContentKind.MEDICAL) and looks_alike:
        content = Content(ContentKind.PHOTO, 0.0)
    return Perception(
        width=image.width,
        height=image.height,
        quality=measured.score,
        metrics=dict(measured.parts),
        content=content.kind,
        content_confidence=content.confidence,
        findings=findings | ({Degradation.LOW_QUALITY_FACE: faces} if faces else {}),
        description="",
        by="measurement",
    )


def _at_least_as_stated(found: Finding, quantisation_of_q50: float) -> Finding:
    """What is seen of compression, and no less than the file's own table says: older compression it cannot know."""
    stated = compressed(quantisation_of_q50)
    evidence = {**found.evidence, "stated_quantisation_of_q50": quantisation_of_q50}
    if stated <= found.severity:
        return found.model_copy(update={"evidence": evidence})
    said = {"severity": stated, "confidence": 1.0, "estimated": found.severity}
    return found.model_copy(update={**said, "evidence": evidence})


PROFILES = {
    ContentKind.DOCUMENT: "document",
    ContentKind.SCREENSHOT: "document",
    ContentKind.DRAWING: "anime",
    ContentKind.AERIAL: "Aer4K-F",
    ContentKind.MEDICAL: "medical-safe",
}


def suggested_profile(perception: Perception) -> str:
    """The profile made for this kind of picture; `default` where there is none, or the kind is not sure."""
    return PROFILES.get(perception.content, "default") if perception.content_confidence >= SURE else "default"
