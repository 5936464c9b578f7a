"""The closed words of the field: what can be wrong with an image, how badly, and the task that mends it."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Degradation(StrEnum):
    """What can be wrong with an image; the degradations of 4KAgent (arXiv 2507.07105), in its terms."""

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
        return TASK_OF[self]


class Task(StrEnum):
    """What an expert can do."""

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
    def degradation(self) -> Degradation:
        """The degradation that this task removes."""
        return DEGRADATION_OF[self]


class Severity(IntEnum):
    """How bad a degradation is, on the five levels of 4KAgent; from MEDIUM on it is worth a task."""

    VERY_LOW = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    VERY_HIGH = 4

    @property
    def words(self) -> str:
        """The level as people write it, for example ``very low``."""
        return self.name.lower().replace("_", " ")


TASK_OF: dict[Degradation, Task] = {
    Degradation.LOW_RESOLUTION: Task.SUPER_RESOLUTION,
    Degradation.NOISE: Task.DENOISING,
    Degradation.MOTION_BLUR: Task.MOTION_DEBLURRING,
    Degradation.DEFOCUS_BLUR: Task.DEFOCUS_DEBLURRING,
    Degradation.HAZE: Task.DEHAZING,
    Degradation.RAIN: Task.DERAINING,
    Degradation.DARK: Task.BRIGHTENING,
    Degradation.JPEG_ARTIFACT: Task.JPEG_ARTIFACT_REMOVAL,
    Degradation.LOW_QUALITY_FACE: Task.FACE_RESTORATION,
    Degradation.OLD_PHOTO: Task.OLD_PHOTO_RESTORATION,
}
DEGRADATION_OF: dict[Task, Degradation] = {task: degradation for degradation, task in TASK_OF.items()}
