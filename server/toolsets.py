"""Which tools a server offers: every schema costs tokens in every conversation."""

from __future__ import annotations

from typing import Literal, TypeAlias

Toolset: TypeAlias = Literal["restore", "steps", "all"]
RESTORE = (
    "restore_to_4k",
    "restore_folder",
    "get_run",
    "cancel_run",
    "list_runs",
    "look",
    "list_profiles",
)
STEPS = (
    *RESTORE,
    "reason_degradations",
    "denoise",
    "dehaze",
    "derain",
    "brighten",
    "deblur_motion",
    "deblur_defocus",
    "remove_jpeg_artifacts",
    "restore_faces",
    "restore_old_photo",
    "super_resolve",
)


def is_offered(tool: str, toolset: Toolset) -> bool:
    """Whether a tool belongs to a set."""
    return toolset == "all" or tool in (RESTORE if toolset == "restore" else STEPS)
