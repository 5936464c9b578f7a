"""Perception: measure the image, then let a reasoner say what is wrong with it."""

from __future__ import annotations

from agent.reasoner import RULES, Reasoner
from agent.state import Finding, Perception
from imaging.image import Image
from iqa.degradations import estimate_degradations
from iqa.quality import quality


def perceive(image: Image, reasoner: Reasoner = RULES) -> Perception:
    """What is wrong with `image`."""
    return reasoner.perceive(image, measure(image))


def measure(image: Image) -> Perception:
    """What the metrics and the estimator say, before anybody has reasoned about it."""
    measured = quality(image)
    return Perception(
        width=image.width,
        height=image.height,
        quality=measured.score,
        metrics=dict(measured.parts),
        findings={
            name: Finding(
                severity=estimate.severity, confidence=estimate.confidence, evidence=dict(estimate.evidence)
            )
            for name, estimate in estimate_degradations(image).items()
        },
        description="",
        by="measurement",
    )
