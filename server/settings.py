"""Where the server and the command line read, keep and write, and how much they accept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from imaging.reading import Limits

APP = "restore4k"
RUNS_VARIABLE = "RESTORE4K_RUNS"
REASONER_VARIABLE = "RESTORE4K_REASONER"


def default_runs() -> Path:
    """The folder of run folders: RESTORE4K_RUNS, otherwise in the user's state folder."""
    return Path(os.environ.get(RUNS_VARIABLE) or platformdirs.user_state_path(APP) / "runs").absolute()


def default_workspace() -> Path:
    """The folder of images that handles stand for."""
    return platformdirs.user_state_path(APP) / "workspace"


def default_output() -> Path:
    """The folder in which the server saves results: a place where a person looks for pictures."""
    return platformdirs.user_pictures_path() / APP


def default_allowed() -> tuple[Path, ...]:
    """The current folder, unless that is as good as the whole machine."""
    here = Path.cwd()
    return () if is_whole_machine(here) else (here,)


def is_whole_machine(folder: Path) -> bool:
    """Whether a folder is the machine's root, or holds the user's home."""
    return Path.home().is_relative_to(folder)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Of one server process."""

    allowed: tuple[Path, ...] = field(default_factory=default_allowed)
    """Folders from which images may be read, with everything below them."""
    output: Path = field(default_factory=default_output)
    """The only folder that results are saved in; also readable."""
    workspace: Path = field(default_factory=default_workspace)
    runs: Path = field(default_factory=default_runs)
    max_bytes: int = 256 << 20
    """Of one image file."""
    max_pixels: int = 100_000_000
    """Of one image."""
    max_output_pixels: int = 178_956_970
    """Of one result: what is larger could not be read again."""
    max_seconds: float = 3600.0
    """Of one call, without its time in the queue."""
    workspace_bytes: int = 8 << 30
    """Of all images in the workspace; those unused for longest go."""
    workspace_days: float = 30.0
    """An image in the workspace goes when it has not been used for so long."""
    free_bytes: int = 1 << 30
    """Nothing is written to a disk that has less left."""
    urls: bool = False
    """Whether images may be fetched from the web."""
    client_roots: bool = False
    """Whether the folders that the client names as its roots are allowed too."""

    def limits(self) -> Limits:
        """The same for `read_image`."""
        from imaging.reading import Limits

        return Limits(max_bytes=self.max_bytes, max_pixels=self.max_pixels)
