"""What perception and planning say, for the tools and for the commands."""

from __future__ import annotations

from collections.abc import Sequence

from agent.choosing import choose_reasoner
from agent.model_reasoner import Unheard
from agent.perceiving import perceive
from agent.planning import plan, reorder
from agent.qmoe import absentees, candidates, favourites
from agent.reasoner import Reasoner
from agent.state import Perception, Step
from imaging.control import Control
from imaging.image import Image
from iqa.seen import see
from profiles.schema import Profile
from server.models import Picture, PlanReport
from toolbox.pool import ExpertPool
from toolbox.tasks import Task


def perceived(image: Image, profile: Profile, experts: ExpertPool, control: Control) -> tuple[Perception, list[str]]:
    """What the reasoner that the profile names says of an image, and warnings."""
    notes = Unheard([])
    return perceive(image, _reasoner(profile, experts, notes, control)), notes.warnings


def plan_report(
    image: Image,
    profile: Profile,
    experts: ExpertPool,
    picture: Picture | None,
    control: Control,
    reasoner: Reasoner | None = None,
    failed: Sequence[Task] = (),
) -> PlanReport:
    """Perceive an image and plan its restoration, by `reasoner` or the one that the profile names.

    `failed`: tasks that did not help as the first one; another one begins then. Raises `PlanError`.
    """
    notes = Unheard([])
    reasoner = reasoner or _reasoner(profile, experts, notes, control)
    seen = see(image)
    perception = perceive(image, reasoner, seen)
    planned = plan(perception, profile, experts.catalogue, reasoner)
    if failed:
        why = {Step(task=task): "it did not help" for task in failed}
        planned = planned.model_copy(update={"steps": reorder(planned.steps, why, perception, reasoner)})
    planned = planned.model_copy(
        update={"warnings": (*notes.warnings, *planned.warnings, *absentees(planned.steps, profile, experts))}
    )
    able = [candidates(step, profile, experts) for step in planned.steps]
    names = [[card.name for card in favourites(cards, profile, image, seen)] for cards in able]
    return PlanReport.of(planned, names, perception, profile, picture)


def _reasoner(profile: Profile, experts: ExpertPool, notes: Unheard, control: Control) -> Reasoner:
    reasoner, warning = choose_reasoner(profile, experts)
    if warning:
        notes.warn(warning)
    return reasoner.heard_by(notes, control)
