"""All available quality metrics of an image, and those that are missing."""

from __future__ import annotations

from imaging.image import Image
from iqa.features import extract_features
from iqa.metric import default_metrics
from iqa.published import measure_published, missing_for, published_metrics
from iqa.quality import quality_of
from server.schemas import MeasuredMetric, MissingMetric, Picture, QualityReport
from toolbox.pool import ExpertPool

PREDICTED = "Predicted fidelity to the unknown original (SSIM, and PSNR from 10 to 40 dB), by a network."


def quality_report(image: Image, picture: Picture | None, pool: ExpertPool) -> QualityReport:
    """Measure embedded and published metrics of one image; the published ones at 1024 pixels at most."""
    missing = {name: missing_for(metric, pool.store) for name, metric in published_metrics().items()}
    ready = [name for name, advice in missing.items() if not advice]
    published = measure_published(ready, image, pool, pool.store)
    quality = quality_of(extract_features(image, models=pool), published=published)
    return QualityReport(
        image=picture,
        quality=quality.score,
        metrics=[_measured(name, value) for name, value in quality.parts.items()],
        missing=[
            MissingMetric(name=name, about=metric.about, licence=metric.licence, advice=missing[name])
            for name, metric in published_metrics().items()
            if name not in ready
        ],
    )


def _measured(name: str, value: float) -> MeasuredMetric:
    known = published_metrics().get(name) or default_metrics().get(name)
    if known is None:  # predicted_fidelity has no entry among the metrics
        return MeasuredMetric(name=name, value=value, range=(0.0, 1.0), higher_is_better=True, about=PREDICTED)
    return MeasuredMetric(
        name=name, value=value, range=known.range, higher_is_better=known.higher_is_better, about=known.about
    )
