"""What one step is run with: the picture, what is known of it, and what the step may use."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agent.state import Step
from agent.timer import Timer
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.features import ImageFeatures, extract_features
from profiles.schema import Profile
from toolbox.pool import ExpertPool


@dataclass(frozen=True, slots=True)
class StepContext:
    """The input of a step."""

    image: Image
    step: Step
    profile: Profile
    experts: ExpertPool
    features: ImageFeatures
    """Of `image`. Features of the candidates are extracted from the same crops."""
    token: ProgressToken = field(default_factory=ProgressToken)
    timer: Timer = field(default_factory=Timer)
    description: str = ""
    """The picture in one sentence, for published metrics that compare a picture with a text."""
    original: Image | None = None
    """The picture before all steps, with which faces are compared; None: `image` itself."""
    runs_left: int | None = None
    """How many more experts the budget allows to run; None: no limit."""

    def for_crop(self, crop: Image) -> StepContext:
        """The same step on a crop of the image."""
        with self.timer.section("scoring"):
            return replace(self, image=crop, features=extract_features(crop, models=self.experts))

    @property
    def is_out_of_time(self) -> bool:
        """Whether the timer has reached the profile's `max_seconds`."""
        return self.profile.max_seconds is not None and self.timer.total() >= self.profile.max_seconds
