"""Messages between a batch and its workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.batch.pictures import Picture
from agent.batch.record import Figures
from agent.batch.request import BatchRequest


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """What all pictures of a batch share."""

    request: BatchRequest
    runs: Path | None = None
    """Folder of run folders to keep; None: keep none."""
    scratch: Path | None = None
    """Folder of temporary run folders; None: the system's temporary folder."""
    memory: float | None = None
    """Memory budget of one worker in gigabytes; None: set by its environment."""


@dataclass(frozen=True, slots=True)
class Work:
    """One picture to restore."""

    picture: Picture
    result: Path
    """Path of the result to write."""
    thumbnails: bool


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
