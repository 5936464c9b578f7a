"""Folders and limits of the server and the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import platformdirs

if TYPE_CHECKING:
    from imaging.reading import Limits

APP = "restore4k"
RUNS_VARIABLE = "RESTORE4K_RUNS"
REASONER_VARIABLE = "RESTORE4K_REASONER"
Toolset: TypeAlias = Literal["restore", "steps", "all"]
RESTORE = ("restore_to_4k", "restore_folder", "get_run", "cancel_run", "list_runs", "look", "list_profiles")
STEPS = (
    *RESTORE, "reason_degradations", "denoise", "dehaze", "derain", "brighten", "deblur_motion", "deblur_defocus",
    "remove_jpeg_artifacts", "restore_faces", "restore_old_photo", "super_resolve",
)  # fmt: skip
"""The tools of two sets, since every schema costs tokens in every conversation; `all` has all tools."""


def default_runs() -> Path:
    """The folder of run folders: RESTORE4K_RUNS, otherwise in the user's state folder."""
    return Path(os.environ.get(RUNS_VARIABLE) or platformdirs.user_state_path(APP) / "runs").absolute()


def default_workspace() -> Path:
    """The folder of the images that handles refer to."""
    return platformdirs.user_state_path(APP) / "workspace"


def default_output() -> Path:
    """The folder for the server's results, in the user's pictures folder."""
    return platformdirs.user_pictures_path() / APP


def default_allowed() -> tuple[Path, ...]:
    """The current folder, unless it contains the user's home."""
    here = Path.cwd()
    return () if is_whole_machine(here) else (here,)


def is_whole_machine(folder: Path) -> bool:
    """Whether a folder is the file system's root or contains the user's home."""
    return Path.home().is_relative_to(folder)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server process."""

    allowed: tuple[Path, ...] = field(default_factory=default_allowed)
    """Folders from which images may be read, subfolders included."""
    output: Path = field(default_factory=default_output)
    """The only folder for results; it may also be read from."""
    workspace: Path = field(default_factory=default_workspace)
    runs: Path = field(default_factory=default_runs)
    max_bytes: int = 256 << 20
    """Maximum size of an image file."""
    max_pixels: int = 100_000_000
    """Maximum pixels of an input image."""
    max_output_pixels: int = 178_956_970
    """Maximum pixels of a result; a larger one could not be read again."""
    max_seconds: float = 3600.0
    """Maximum duration of one call, without its time in the queue."""
    workspace_bytes: int = 8 << 30
    """Maximum size of the workspace; the least recently used images are removed first."""
    workspace_days: float = 30.0
    """Days after which an unused image is removed from the workspace."""
    free_bytes: int = 1 << 30
    """Space that must stay free on a disk that is written to."""
    urls: bool = False
    """Whether images may be fetched from the web."""
    tools: Toolset = "steps"
    """The tools to offer."""
    read_only: bool = False
    """Offer only tools that write nothing."""
    wait_seconds: float = 45.0
    """A call that takes longer is answered with its run; clients without progress time calls out after a minute."""
    client_roots: bool = False
    """Whether the folders that the client names as its roots are allowed too."""

    def offers(self, tool: str) -> bool:
        """Whether a tool belongs to the set."""
        return self.tools == "all" or tool in (RESTORE if self.tools == "restore" else STEPS)

    def limits(self) -> Limits:
        """The limits for `read_image`; links are resolved when access is checked, and not followed later."""
        from imaging.reading import Limits

        return Limits(max_bytes=self.max_bytes, max_pixels=self.max_pixels, follow_links=False)
