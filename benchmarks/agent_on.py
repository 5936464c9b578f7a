"""The whole agent on one picture in memory, for the benchmarks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from agent.reasoners.reasoner import RULES, Reasoner
from agent.run import Restoration, restore_file
from imaging.image import Image
from imaging.reading import read_image
from imaging.writing import write_image
from profiles.schema import Profile
from toolbox.pool import ExpertPool


def restored_by_agent(
    image: Image, scale: int, profile: Profile, experts: ExpertPool, reasoner: Reasoner = RULES
) -> tuple[Image, Image, Restoration]:
    """The result `scale` times as large, the picture as the agent read it (8 bit), and the run."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.png", Path(folder) / "out.png"
        write_image(image, source)
        restoration = restore_file(
            source,
            output,
            at_scale(profile, scale),
            runs=Path(folder) / "runs",
            experts=experts,
            reasoner=reasoner,
        )
        return read_image(output), read_image(source), restoration


def at_scale(profile: Profile, scale: int) -> Profile:
    """The same profile with results that are `scale` times as large as their inputs."""
    sized = {"upscale_4k": False, "scale_factor": scale if scale > 1 else None, "require_sr_size": 0}
    return profile.model_copy(update=sized)
