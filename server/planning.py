"""What perception and planning say, for the tools and for the commands."""

from __future__ import annotations

from collections.abc import Sequence

from agent.perception import perceive
from agent.planning import perceive_and_plan, reorder
from agent.reasoners.factory import choose_reasoner
from agent.reasoners.model_reasoner import WarningLog
from agent.reasoners.reasoner import Reasoner
from agent.state import Perception, Step
from agent.step import experts_for
from agent.step_context import StepContext
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.features import extract_features
from profiles.schema import Profile
from server.schemas import Picture, PlanReport
from toolbox.pool import ExpertPool
from toolbox.tasks import Task


def perceive_with_warnings(
    image: Image, profile: Profile, experts: ExpertPool, token: ProgressToken
) -> tuple[Perception, list[str]]:
    """What the reasoner that the profile names says of an image, and warnings."""
    log = WarningLog([])
    features = extract_features(image, models=experts)
    return perceive(image, _reasoner(profile, experts, log, token), features), log.warnings


def plan_report(
    image: Image,
    profile: Profile,
    experts: ExpertPool,
    picture: Picture | None,
    token: ProgressToken,
    reasoner: Reasoner | None = None,
    failed: Sequence[Task] = (),
) -> PlanReport:
    """Perceive an image and plan its restoration, by `reasoner` or the one that the profile names.

    `failed`: tasks that did not help as the first one; another one begins then. Raises `PlanError`.
    """
    log = WarningLog([])
    reasoner = reasoner or _reasoner(profile, experts, log, token)
    features = extract_features(image, models=experts)
    perception, planned = perceive_and_plan(image, features, profile, experts, reasoner)
    if failed:
        why = {Step(task=task): "it did not help" for task in failed}
        planned = planned.model_copy(update={"steps": reorder(planned.steps, why, perception, reasoner)})
    planned = planned.model_copy(update={"warnings": (*log.warnings, *planned.warnings)})
    steps = [StepContext(image, step, profile, experts, features) for step in planned.steps]
    names = [[card.name for card in experts_for(step)] for step in steps]
    return PlanReport.of(planned, names, perception, profile, picture)


def _reasoner(profile: Profile, experts: ExpertPool, log: WarningLog, token: ProgressToken) -> Reasoner:
    reasoner, warning = choose_reasoner(profile, experts)
    if warning:
        log.warn(warning)
    return reasoner.bind(log, token)
