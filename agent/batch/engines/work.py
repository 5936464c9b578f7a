"""Messages between a batch and its workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, FiniteFloat

from agent.finishing import Finishing
from agent.run import StepTaken
from imaging.reading import Limits
from profiles.schema import Profile


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """Settings that all pictures of a batch share."""

    profile: Profile
    limits: Limits
    runs: Path | None = None
    """Folder of run folders to keep; None: keep none."""
    scratch: Path | None = None
    """Folder of temporary run folders; None: the system's temporary folder."""
    most_pixels: int | None = None
    """Maximum pixels of one result, before and after it is resized to its final size."""
    strip_metadata: bool = False
    keep_print_size: bool = False
    finishing: Finishing | None = None
    memory: float | None = None
    """Memory budget of one worker in gigabytes; None: set by its environment."""


@dataclass(frozen=True, slots=True)
class Work:
    """One picture to restore."""

    source: str
    """Path below the source folder."""
    file: Path
    result: Path
    """Path of the result to write."""
    thumbnails: bool


class Figures(BaseModel):
    """Facts about a restored picture."""

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    plan: tuple[str, ...]
    steps: tuple[StepTaken, ...]
    quality: FiniteFloat
    """Quality of the input, 0..1."""
    gain: FiniteFloat
    """Sum of the steps' score gains over keeping the input, without super-resolution."""
    seconds: FiniteFloat
    warnings: tuple[str, ...] = ()
    run: str = ""
    """Identifier of the run, if its folder is kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a picture."""

    work: Work
    figures: Figures | None = None
    reason: str = ""
    """Why there is no result; empty on success."""
    is_disk_full: bool = False
    """The reason is a full disk, and not the picture."""
    stopped: bool = False
    """The worker was stopped before the picture was finished."""
    before: bytes = b""
    after: bytes = b""
    """JPEG thumbnails before and after."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """The finished share of a picture, 0..1."""

    work: Work
    fraction: float
