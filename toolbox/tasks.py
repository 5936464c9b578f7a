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
    gain_is_predicted: bool = True
    """Whether a fit predicts its gain; enlargement follows from sizes, faces are decided one by one, and old photos
    are restored on request.
    """
    probable_median_db: float = 0.5
    """Median of the expected gain from which a gain is probable; lower for noise and compression, whose networks
    change least. Of 1,117 held-out training cases that are denoised for a clear gain, ten lose 0.3 dB or more; of
    197 more with a probable gain, twelve do, one of them clean, and the mean gain is 0.78 dB.
    """
    is_deblurring: bool = False
    """Sharpens what may be out of focus by intent; its networks remove noise too."""
    hides_content: bool = False
    """Whether the degradation can make any photo look like an aerial or medical picture."""

    @property
    def is_cleaning(self) -> bool:
        """Removes a fault and keeps tones and size; blind super-resolution networks remove these faults too."""
        return self.gain_is_predicted and not self.is_global


TASKS: dict[Task, TaskSpec] = {
    Task.SUPER_RESOLUTION: TaskSpec(
        Degradation.LOW_RESOLUTION,
        scales=(2, 4, 16),
        can_be_side_effect=False,
        is_late=True,
        co_degradations=(Degradation.NOISE, Degradation.JPEG_ARTIFACT),
        gain_is_predicted=False,
    ),
    Task.DENOISING: TaskSpec(
        Degradation.NOISE, niqe_ranks=False, co_degradations=(Degradation.JPEG_ARTIFACT,), probable_median_db=0.25
    ),
    Task.JPEG_ARTIFACT_REMOVAL: TaskSpec(
        Degradation.JPEG_ARTIFACT, niqe_ranks=False, co_degradations=(Degradation.NOISE,), probable_median_db=0.25
    ),
    # A crop shows too little of the camera's motion.
    Task.MOTION_DEBLURRING: TaskSpec(
        Degradation.MOTION_BLUR, can_be_prescreened=False, is_deblurring=True, hides_content=True
    ),
    Task.DEFOCUS_DEBLURRING: TaskSpec(Degradation.DEFOCUS_BLUR, is_deblurring=True, hides_content=True),
    Task.DERAINING: TaskSpec(Degradation.RAIN),
    Task.DEHAZING: TaskSpec(Degradation.HAZE, is_global=True, can_be_prescreened=False, can_be_side_effect=False),
    Task.BRIGHTENING: TaskSpec(
        Degradation.DARK, is_global=True, can_be_prescreened=False, can_be_side_effect=False, hides_content=True
    ),
    Task.FACE_RESTORATION: TaskSpec(
        Degradation.LOW_QUALITY_FACE, can_be_side_effect=False, is_late=True, gain_is_predicted=False
    ),
    Task.OLD_PHOTO_RESTORATION: TaskSpec(Degradation.OLD_PHOTO, has_quality_score=False, gain_is_predicted=False),
}
"""The table of tasks."""
GAIN_TASKS = tuple(task for task, spec in TASKS.items() if spec.gain_is_predicted)
