"""Perception and planning for the tools and the commands, as reports."""

from __future__ import annotations

from collections.abc import Sequence

from agent.perception import perceive
from agent.planning import perceive_and_plan, reorder
from agent.reasoners.factory import choose_reasoner
from agent.reasoners.model_reasoner import WarningLog
from agent.reasoners.reasoner import Reasoner
from agent.search.search_state import SearchState
from agent.state import Perception, Step
from agent.step import experts_for
from agent.step_context import StepContext
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.features import extract_features
from profiles.schema import Profile
from server.schemas import Diagnosis, Picture, PlannedStep, PlanReport
from toolbox.pool import ExpertPool
from toolbox.tasks import Task


def perceive_with_warnings(
    image: Image, profile: Profile, experts: ExpertPool, token: ProgressToken
) -> tuple[Perception, list[str]]:
    """The perception of an image by the reasoner that the profile names, and warnings."""
    log = WarningLog([])
    features = extract_features(image, models=experts)
    perception = perceive(image, _reasoner(profile, experts, log, token), features)
    return perception, [*image.warnings, *log.warnings]


def plan_report(
    image: Image,
    profile: Profile,
    experts: ExpertPool,
    picture: Picture | None,
    token: ProgressToken,
    reasoner: Reasoner | None = None,
    failed: Sequence[Task] = (),
    search: SearchState | None = None,
) -> PlanReport:
    """Perceive an image and plan its restoration, by `reasoner` or the one that the profile names.

    `failed`: tasks that failed as the first one; the plan starts with another. `search`, still at its input, gets
    the perception and the plan. Raises `PlanError`.
    """
    log = WarningLog([])
    reasoner = reasoner or _reasoner(profile, experts, log, token)
    features = search.features if search else extract_features(image, models=experts)
    perception, planned = perceive_and_plan(image, features, profile, experts, reasoner)
    if failed:
        why = {Step(task=task): "it did not help" for task in failed}
        planned = planned.model_copy(update={"steps": reorder(planned.steps, why, perception, reasoner)})
    warnings = (*image.warnings, *log.warnings, *planned.warnings)
    planned = planned.model_copy(update={"warnings": warnings})
    if search:
        search.change(perception=perception, plan=planned)
        first = tuple(Step(task=task) for task in failed)
        search.put(search.node.model_copy(update={"remaining_steps": planned.steps, "failed_first_steps": first}))
    steps, is_enlarged = [], False
    for step in planned.steps:
        cards = experts_for(StepContext(image, step, profile, experts, features, is_enlarged=is_enlarged))
        steps.append(PlannedStep(task=step.task, scale=step.scale, experts=[card.name for card in cards]))
        is_enlarged = is_enlarged or step.task is Task.SUPER_RESOLUTION
    facts = planned.model_dump(include={"final_width", "final_height", "reasons", "by"})
    return PlanReport(
        **facts,
        image=picture,
        profile=profile.name,
        steps=steps,
        warnings=list(warnings),
        diagnosis=Diagnosis.of(perception),
    )


def _reasoner(profile: Profile, experts: ExpertPool, log: WarningLog, token: ProgressToken) -> Reasoner:
    reasoner, warning = choose_reasoner(profile, experts)
    if warning:
        log.warn(warning)
    return reasoner.bind(log, token)
