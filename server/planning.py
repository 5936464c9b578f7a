"""A plan with its reasons, for the tool and for the command."""

from __future__ import annotations

from agent.perceiving import perceive
from agent.planning import plan
from agent.qmoe import candidates
from imaging.image import Image
from profiles.schema import Profile
from server.models import Picture, PlanReport
from toolbox.pool import ExpertPool


def plan_report(image: Image, profile: Profile, experts: ExpertPool, picture: Picture | None) -> PlanReport:
    """Perceive an image and plan its restoration. Raises `PlanError`."""
    perception = perceive(image)
    planned = plan(perception, profile, experts.catalogue)
    names = [[card.name for card in candidates(step, profile, experts)] for step in planned.steps]
    return PlanReport.of(planned, names, perception, profile, picture)
