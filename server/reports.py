"""Perception, plan and quality of an image, as reports for the tools and the commands."""

from __future__ import annotations

from collections.abc import Sequence

from agent.perception import perceive
from agent.planning import reorder
from agent.reasoners.factory import choose_reasoner
from agent.reasoners.model_reasoner import WarningLog
from agent.reasoners.reasoner import Reasoner
from agent.search.first_plan import perceive_and_plan
from agent.search.search_state import SearchState
from agent.state import Step
from agent.step import experts_for
from agent.step_context import StepContext
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.features import extract_features
from iqa.metric import default_metrics
from iqa.published import measure_published, missing_for, published_metrics
from iqa.quality import quality_of
from profiles.schema import Profile
from server.schemas import (
    DegradationReport,
    Diagnosis,
    MeasuredMetric,
    MissingMetric,
    Picture,
    PlannedStep,
    PlanReport,
    QualityReport,
)
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

PREDICTED = "Predicted fidelity to the unknown original (SSIM, and PSNR from 10 to 40 dB), by a network."


def degradation_report(
    image: Image, profile: Profile, experts: ExpertPool, token: ProgressToken
) -> DegradationReport:
    """Perceive an image by the reasoner that the profile names."""
    log = WarningLog([])
    features = extract_features(image, models=experts)
    diagnosis = Diagnosis.of(perceive(image, _reasoner(profile, experts, log, token), features))
    return DegradationReport(image=None, diagnosis=diagnosis, warnings=[*image.warnings, *log.warnings])


def plan_report(
    search: SearchState,
    picture: Picture | None,
    token: ProgressToken,
    reasoner: Reasoner | None = None,
    failed: Sequence[Task] = (),
) -> PlanReport:
    """Perceive the input of a search and plan its restoration, by `reasoner` or the one that the profile names.

    `failed`: tasks that failed as the first one; the plan starts with another. Raises `PlanError`.
    """
    log, profile = WarningLog([]), search.state.profile
    reasoner = reasoner or _reasoner(profile, search.experts, log, token)
    perceive_and_plan(search, reasoner)
    if failed:
        why = {Step(task=task): "it did not help" for task in failed}
        steps = reorder(search.plan.steps, why, search.perception, reasoner)
        search.change(plan=search.plan.model_copy(update={"steps": steps}))
        again = {"remaining_steps": steps, "failed_first_steps": tuple(why)}
        search.put(search.node.model_copy(update=again))
    planned = search.plan
    return PlanReport(
        **planned.model_dump(include={"final_width", "final_height", "reasons", "by"}),
        image=picture,
        profile=profile.name,
        steps=_planned_steps(search),
        warnings=[*search.image.warnings, *log.warnings, *planned.warnings],
        diagnosis=Diagnosis.of(search.perception),
    )


def _planned_steps(search: SearchState) -> list[PlannedStep]:
    """The steps of a plan with the experts that would run."""
    image, profile, experts, features = search.image, search.state.profile, search.experts, search.features
    steps, is_enlarged = [], False
    for step in search.plan.steps:
        cards = experts_for(StepContext(image, step, profile, experts, features, is_enlarged=is_enlarged))
        steps.append(PlannedStep(task=step.task, scale=step.scale, experts=[card.name for card in cards]))
        is_enlarged = is_enlarged or step.task is Task.SUPER_RESOLUTION
    return steps


def quality_report(image: Image, picture: Picture | None, pool: ExpertPool) -> QualityReport:
    """Measure embedded and published metrics of one image; the published ones at 1024 pixels at most."""
    missing = {name: missing_for(metric, pool.store) for name, metric in published_metrics().items()}
    ready = [name for name, advice in missing.items() if not advice]
    published = measure_published(ready, image, pool, pool.store)
    quality = quality_of(extract_features(image, models=pool), published=published)
    added = {
        name: metric.measure(image)
        for name, metric in default_metrics().items()
        if metric.reference == "none" and name not in quality.parts
    }
    metrics = [_measured(name, value) for name, value in {**quality.parts, **added}.items()]
    unavailable = [
        MissingMetric(name=name, about=metric.about, licence=metric.licence, advice=missing[name])
        for name, metric in published_metrics().items()
        if missing[name]
    ]
    return QualityReport(image=picture, quality=quality.score, metrics=metrics, missing=unavailable)


def _measured(name: str, value: float) -> MeasuredMetric:
    known = published_metrics().get(name) or default_metrics().get(name)
    if known is None:  # predicted_fidelity has no entry among the metrics
        return MeasuredMetric(name=name, value=value, range=(0.0, 1.0), higher_is_better=True, about=PREDICTED)
    return MeasuredMetric(
        name=name, value=value, range=known.range, higher_is_better=known.higher_is_better, about=known.about
    )


def _reasoner(profile: Profile, experts: ExpertPool, log: WarningLog, token: ProgressToken) -> Reasoner:
    reasoner, warning = choose_reasoner(profile, experts)
    if warning:
        log.warn(warning)
    return reasoner.bind(log, token)
