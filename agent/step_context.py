"""The inputs of one step: the picture, its features, the profile and the experts."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Features of `image`. Those of the candidates are extracted from the same crops."""
    token: ProgressToken = field(default_factory=ProgressToken)
    timer: Timer = field(default_factory=Timer)
    description: str = ""
    """The picture in one sentence, for published metrics that compare a picture with a text."""
    original: Image | None = None
    """The picture before all steps, with which faces are compared; None: `image` itself."""
    is_enlarged: bool = False
    """Whether an earlier step has enlarged the picture."""
    is_requested: bool = True
    """Whether the step was requested; if not, experts need a probable gain, and the result a visible change."""
    runs_left: int | None = None
    """Remaining expert runs of the budget; None: no limit."""
    expert_seconds: float | None = None
    """Time limit of an expert on a CPU, estimated from its card; None: no limit."""
    other_inputs: Mapping[str, Image] = field(default_factory=dict)
    """Other pictures that blind experts enlarge too, by the suffix of their candidates' names."""

    def input_of(self, suffix: str) -> Image:
        """The picture on which candidates with that suffix run."""
        return self.other_inputs[suffix] if suffix else self.image

    def for_crop(self, crop: Image) -> StepContext:
        """The same step on a crop of the image."""
        with self.timer.section("scoring"):
            features = extract_features(crop, models=self.experts)
            return replace(self, image=crop, features=features, other_inputs={})

    @property
    def is_out_of_time(self) -> bool:
        """Whether the timer has reached the profile's `max_seconds`."""
        return self.profile.max_seconds is not None and self.timer.total() >= self.profile.max_seconds
