"""What a worker is asked, and what it answers: one picture restored, or why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from agent.run import StepTaken
from imaging.reading import Limits
from profiles.schema import Profile


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """What is the same for all pictures of a batch."""

    profile: Profile
    limits: Limits
    runs: Path | None = None
    """Where run folders stay; None: none does."""
    scratch: Path | None = None
    """Where they lie meanwhile; None: in the system's temporary folder."""
    most_pixels: int | None = None
    """Maximum pixels of one result, before it is resized to its final size."""
    memory: float | None = None
    """Memory budget of one worker in gigabytes; None: as its environment says."""


@dataclass(frozen=True, slots=True)
class Work:
    """One picture."""

    source: str
    """Its name below the folder of pictures."""
    file: Path
    result: Path
    """Where the restored picture is put."""
    thumbnails: bool


class Figures(BaseModel):
    """What there is to say of a restored picture."""

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    plan: tuple[str, ...]
    steps: tuple[StepTaken, ...]
    quality: float
    """Of the input, 0..1."""
    gain: float
    """By how much the steps scored better than doing nothing; enlargements do not count."""
    seconds: float
    warnings: tuple[str, ...] = ()
    run: str = ""
    """Its run folder, where that is kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a picture."""

    work: Work
    figures: Figures | None = None
    reason: str = ""
    """Why there is no result."""
    stopped: bool = False
    """The worker was told to stop before it was done."""
    before: bytes = b""
    after: bytes = b""
    """Thumbnails."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How much of a picture is done, 0..1."""

    work: Work
    fraction: float
