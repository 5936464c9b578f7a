"""The closed vocabulary: degradations, severities, the restoration tasks, and what is known about each task."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Degradation(StrEnum):
    """The degradations of 4KAgent (arXiv 2507.07105), in its terms."""

    LOW_RESOLUTION = "low_resolution"
    NOISE = "noise"
    MOTION_BLUR = "motion_blur"
    DEFOCUS_BLUR = "defocus_blur"
    HAZE = "haze"
    RAIN = "rain"
    DARK = "dark"
    JPEG_ARTIFACT = "jpeg_artifact"
    LOW_QUALITY_FACE = "low_quality_face"
    OLD_PHOTO = "old_photo"

    @property
    def task(self) -> Task:
        """The restoration task that removes this degradation."""
        return next(task for task, spec in TASKS.items() if spec.degradation is self)


class Severity(IntEnum):
    """Severity of a degradation, on the five levels of 4KAgent; MEDIUM and above are worth a task."""

    VERY_LOW = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    VERY_HIGH = 4

    @property
    def words(self) -> str:
        """The level as people write it, for example ``very low``."""
        return self.name.lower().replace("_", " ")


class Task(StrEnum):
    """A restoration task: what an expert can do."""

    SUPER_RESOLUTION = "super_resolution"
    DENOISING = "denoising"
    MOTION_DEBLURRING = "motion_deblurring"
    DEFOCUS_DEBLURRING = "defocus_deblurring"
    DEHAZING = "dehazing"
    DERAINING = "deraining"
    BRIGHTENING = "brightening"
    JPEG_ARTIFACT_REMOVAL = "jpeg_artifact_removal"
    FACE_RESTORATION = "face_restoration"
    OLD_PHOTO_RESTORATION = "old_photo_restoration"

    @property
    def spec(self) -> TaskSpec:
        """The properties of this task."""
        return TASKS[self]

    @property
    def degradation(self) -> Degradation:
        """The degradation that this task removes."""
        return self.spec.degradation


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Properties of a task that planning, Q-MoE, scoring and expert cards depend on."""

    degradation: Degradation
    """The degradation that the task removes."""
    scales: tuple[int, ...] = (1,)
    """Possible values of output size / input size."""
    is_global: bool = False
    """Changes the tone of the whole image, so that a crop does not show the result."""
    can_be_prescreened: bool = True
    """Whether the ranking of experts on a few crops holds for the whole image."""
    can_be_side_effect: bool = True
    """Whether an expert for another task may remove the degradation too, which makes the step unnecessary."""
    is_late: bool = False
    """Never scheduled first while other tasks remain."""
    has_quality_score: bool = True
    """Whether the embedded quality score was trained on this task; otherwise the expert prior alone decides."""
    niqe_ranks: bool = True
    """Whether NIQE also ranks experts with an expected gain or prior. It prefers denoisers that leave some noise: in
    113 steps on photographs that no fit has seen, the choice gains 3.77 dB without it and 3.70 dB with it; the best
    choice gains 3.80 dB. For experts with neither, NIQE is used because it reveals oversmoothing.
    """
    co_degradations: tuple[Degradation, ...] = ()
    """Co-occurring degradations that change the ranking of the experts."""


TASKS: dict[Task, TaskSpec] = {
    Task.SUPER_RESOLUTION: TaskSpec(
        Degradation.LOW_RESOLUTION,
        scales=(2, 4, 16),
        can_be_side_effect=False,
        is_late=True,
        co_degradations=(Degradation.NOISE, Degradation.JPEG_ARTIFACT),
    ),
    Task.DENOISING: TaskSpec(Degradation.NOISE, niqe_ranks=False, co_degradations=(Degradation.JPEG_ARTIFACT,)),
    # A crop shows too little of the camera's motion.
    Task.MOTION_DEBLURRING: TaskSpec(Degradation.MOTION_BLUR, can_be_prescreened=False),
    Task.DEFOCUS_DEBLURRING: TaskSpec(Degradation.DEFOCUS_BLUR),
    Task.DEHAZING: TaskSpec(Degradation.HAZE, is_global=True, can_be_prescreened=False, can_be_side_effect=False),
    Task.DERAINING: TaskSpec(Degradation.RAIN),
    Task.BRIGHTENING: TaskSpec(Degradation.DARK, is_global=True, can_be_prescreened=False, can_be_side_effect=False),
    Task.JPEG_ARTIFACT_REMOVAL: TaskSpec(
        Degradation.JPEG_ARTIFACT, niqe_ranks=False, co_degradations=(Degradation.NOISE,)
    ),
    Task.FACE_RESTORATION: TaskSpec(Degradation.LOW_QUALITY_FACE, can_be_side_effect=False, is_late=True),
    Task.OLD_PHOTO_RESTORATION: TaskSpec(Degradation.OLD_PHOTO, has_quality_score=False),
}
"""The table of tasks."""
