"""Perception: measures an image, then lets a reasoner decide which degradations it has."""

from __future__ import annotations

from collections.abc import Mapping

from agent.faces.detection import face_finding
from agent.reasoners.reasoner import RULES, SURE, Reasoner
from agent.state import Finding, Perception, TaskGain
from agent.worth import task_gains
from imaging.flat import flat_share
from imaging.image import Image
from iqa.content import WRITTEN, Content, ContentKind, content_of
from iqa.degradations import estimates_from, jpeg_severity
from iqa.expected_gain import AS_GOOD_DB, CLEAR_DB, is_probable
from iqa.features import ImageFeatures, extract_features
from iqa.quality import quality_of
from toolbox.tasks import Degradation, Severity, Task

ALIKE = (Degradation.RAIN, Degradation.JPEG_ARTIFACT)
"""Degradations that networks for noise remove in part."""
FLAT_SHARE = 0.25
"""Share of exactly flat pixels above which noise and rain found in a page or drawing are taken for small letters and
strokes. 7 % of pictures with synthetic rain exceed it, so in other pictures rain only becomes doubtful.
"""
CLEAR_NOISE_DB = 1.0
"""Median of the expected gain of denoising, if it is probable, from which noise is at least of medium severity. The
estimator overlooks the noise of cameras, which is not white: of photos with an ISO of 12,800 it calls some clean. On
clean photos the median is at most 0.1, with the least synthetic noise at least 1.6.
"""
CLEAR_GAIN_CONFIDENCE = 0.975
"""Confidence of noise that is found by a clear expected gain: one in forty of such gains is none."""
DOUBTFUL = 0.5
"""Maximum confidence of rain in a picture with flat areas; too low for the finding to be relied on."""


def perceive(image: Image, reasoner: Reasoner = RULES, features: ImageFeatures | None = None) -> Perception:
    """Perceive `image` by a reasoner. `features`: its features, if they are already extracted."""
    return reasoner.perceive(image, measure(image, features))


def measure(image: Image, features: ImageFeatures | None = None) -> Perception:
    """The measurements of the metrics and the estimator, before any reasoning."""
    features = features or extract_features(image)
    faces = face_finding(image, features.models.store if features.models else None)
    measured, content = quality_of(features), content_of(features)
    findings = {
        name: Finding(
            severity=estimate.severity,
            confidence=estimate.confidence,
            measurements=dict(estimate.measurements),
            where=estimate.where,
        )
        for name, estimate in estimates_from(features).items()
    }
    if image.quantization_relative_to_q50 is not None:
        found = findings[Degradation.JPEG_ARTIFACT]
        findings[Degradation.JPEG_ARTIFACT] = _at_least_as_stated(found, image.quantization_relative_to_q50)
    looks_alike = faces or any(found.present and name.task.spec.hides_content for name, found in findings.items())
    if content.kind in (ContentKind.AERIAL, ContentKind.MEDICAL) and looks_alike:
        content = Content(ContentKind.PHOTO, 0.0)
    gains = task_gains(features)
    findings[Degradation.NOISE] = _with_noise_of_gain(findings, gains)
    _leave_lettering(image, content, findings, gains)
    return Perception(
        width=image.width,
        height=image.height,
        quality=measured.score,
        metrics=dict(measured.parts),
        content=content.kind,
        content_confidence=content.confidence,
        findings=findings | ({Degradation.LOW_QUALITY_FACE: faces} if faces else {}),
        gains=gains,
        description="",
        by="measurement",
    )


def _leave_lettering(
    image: Image, content: Content, findings: dict[Degradation, Finding], gains: dict[Task, TaskGain]
) -> None:
    """Remove noise and rain from the findings and expected gains of pages and drawings with flat areas.

    In other pictures with flat areas rain becomes doubtful.
    """
    is_drawn = content.kind in (*WRITTEN, ContentKind.DRAWING)
    rain, gain = findings[Degradation.RAIN], gains[Task.DERAINING]
    may_rain = rain.present or is_probable(Task.DERAINING, gain.low_db, gain.median_db)
    if not (is_drawn or may_rain) or flat_share(image.pixels) <= FLAT_SHARE:
        return
    if is_drawn:
        for name in (Degradation.NOISE, Degradation.RAIN):
            findings[name] = Finding(severity=Severity.VERY_LOW, confidence=1.0)
            del gains[name.task]
    elif rain.present:
        findings[Degradation.RAIN] = rain.model_copy(update={"confidence": min(rain.confidence, DOUBTFUL)})
    else:
        del gains[Task.DERAINING]


def _at_least_as_stated(found: Finding, quantization_relative_to_q50: float) -> Finding:
    """The finding of compression, at least as severe as the file's quantization table implies.

    The table cannot show an earlier, stronger compression.
    """
    stated = jpeg_severity(quantization_relative_to_q50)
    measurements = {**found.measurements, "stated_quantization_relative_to_q50": quantization_relative_to_q50}
    if stated <= found.severity:
        return found.model_copy(update={"measurements": measurements})
    changes = {"severity": stated, "confidence": 1.0, "estimated": found.severity}
    return found.model_copy(update={**changes, "measurements": measurements})


def _with_noise_of_gain(findings: Mapping[Degradation, Finding], gains: Mapping[Task, TaskGain]) -> Finding:
    """The finding of noise, of medium severity at least if denoising is clearly expected to gain most.

    Not if rain or compression is found, which networks that denoise remove in part.
    """
    noise, gain = findings[Degradation.NOISE], gains[Task.DENOISING]
    best_db = max(one.median_db for task, one in gains.items() if not task.spec.is_global)
    is_noisy = gain.low_db > CLEAR_DB and gain.median_db >= max(CLEAR_NOISE_DB, best_db - AS_GOOD_DB)
    if not is_noisy or any(findings[name].present for name in (*ALIKE, Degradation.NOISE)):
        return noise
    return noise.model_copy(update={"severity": Severity.MEDIUM, "confidence": CLEAR_GAIN_CONFIDENCE})


PROFILES = {
    ContentKind.DOCUMENT: "document",
    ContentKind.SCREENSHOT: "document",
    ContentKind.DRAWING: "anime",
    ContentKind.AERIAL: "Aer4K-F",
    ContentKind.MEDICAL: "medical-safe",
}


def suggested_profile(perception: Perception) -> str:
    """The profile for this kind of picture; `default` if there is none or the kind is uncertain."""
    return PROFILES.get(perception.content, "default") if perception.content_confidence >= SURE else "default"
