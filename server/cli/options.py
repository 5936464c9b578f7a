"""Arguments and options that several commands share, in groups that are small frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from server.errors import RequestError
from server.profile_options import choose_profile, with_steps
from toolbox.tasks import Task

if TYPE_CHECKING:
    from agent.finishing import Finishing
    from profiles.schema import Profile

ImageArgument = Annotated[Path, typer.Argument(help="The photo: PNG, JPEG, WebP, TIFF, AVIF, HEIC or another.")]
ReasonerOption = Annotated[
    Literal["rules", "endpoint", "local"] | None,
    typer.Option(
        "--reasoner",
        help="Assesses the photo, orders the steps and breaks ties: the built-in rules, a chat endpoint or a local "
        "vision-language model. Default: RESTORE4K_REASONER, otherwise the profile's.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Do not show progress on stderr.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")]
RunsOption = Annotated[
    Path | None,
    typer.Option("--runs", help="Folder of run folders. Default: RESTORE4K_RUNS, otherwise the user's state folder."),
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory",
        min=0.1,
        help="Memory budget in gigabytes; larger pictures use temporary files, with the same result. Default: "
        "RESTORE4K_MEMORY, otherwise half of the free memory.",
    ),
]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The profile, and options that change its plan."""

    profile: Annotated[str, typer.Option("--profile", "-p", help="Name of a profile, or a .toml file.")] = "default"
    scale: Annotated[
        int | None, typer.Option("--scale", help="Enlarge by this factor: 2, 4, 8 or 16; 1 keeps the size.")
    ] = None
    long_side: Annotated[
        int | None,
        typer.Option(
            "--long-side", help="Longer side of the result in pixels. Default: the profile's, otherwise 4096."
        ),
    ] = None
    detail: Annotated[
        float | None,
        typer.Option(
            "--detail", min=0, max=1, help="Texture of enlargements: 0 faithful, 1 perceptual, in between blended."
        ),
    ] = None
    grain: Annotated[
        float | None, typer.Option("--grain", min=0, max=1, help="Strength of added film grain. Default: 0.")
    ] = None
    steps: Annotated[
        str | None,
        typer.Option("--steps", help='Only these steps, in this order: "denoise" or "denoising, super_resolution".'),
    ] = None
    reasoner: ReasonerOption = None
    non_commercial: Annotated[
        bool, typer.Option("--non-commercial", help="Also use experts whose licence forbids commercial use.")
    ] = False

    def choose(self, max_seconds: float | None = None, max_runs: int | None = None) -> Profile:
        """The profile with these changes and budgets. Raises `ProfileError` and `RequestError`."""
        profile = choose_profile(
            self.profile,
            scale=self.scale,
            long_side=self.long_side,
            reasoner=self.reasoner,
            max_seconds=max_seconds,
            max_expert_runs=max_runs,
            non_commercial=self.non_commercial,
            detail=self.detail,
            grain=self.grain,
        )
        if self.steps is None:
            return profile
        steps = _tasks_of(self.steps)
        if self.scale not in (None, 1) and Task.SUPER_RESOLUTION not in steps:
            raise RequestError("--scale has no effect on these steps", "add super_resolution to --steps")
        return with_steps(profile, steps)


def _tasks_of(text: str) -> list[Task]:
    """The tasks that a text names, as the tools understand them. Raises `RequestError`."""
    from server.mcp.inputs import task_of, words

    known = {task.value: task for task in Task}
    named = [str(task_of(word)) for word in cast(list[str], words(text))]
    for name in named:
        if name not in known:
            raise RequestError(f"there is no step {name!r}", f"choose from {', '.join(known)}")
    return [known[name] for name in named]


@dataclass(frozen=True, slots=True)
class BudgetOptions:
    """Limits of the work on one photo."""

    max_seconds: Annotated[
        float | None,
        typer.Option("--max-seconds", help="Start no further step after N seconds and return the best result."),
    ] = None
    max_runs: Annotated[
        int | None, typer.Option("--max-runs", help="Stop after N expert runs and return the best result.")
    ] = None


@dataclass(frozen=True, slots=True)
class FinishingOptions:
    """How strongly, and where, the result replaces the photo, and its metadata."""

    strength: Annotated[
        float, typer.Option("--strength", min=0, max=1, help="Blend with the photo: 0 the photo, 1 the result.")
    ] = 1.0
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            help='Change only this part: "x,y,width,height" in pixels or fractions, a polygon "x1,y1 x2,y2 x3,y3", '
            '"faces", "face 1", "centre", "most detail", or a mask image that is white where the result is used.',
        ),
    ] = None

    strip_metadata: Annotated[
        bool,
        typer.Option(
            "--strip-metadata", help="Write no EXIF, XMP, IPTC and map coordinates; the colour profile is kept."
        ),
    ] = False
    keep_print_size: Annotated[
        bool,
        typer.Option(
            "--keep-print-size", help="Raise the resolution (dpi) by the enlargement. Default: the dpi stay."
        ),
    ] = False

    def value(self) -> Finishing:
        """These options as the agent takes them. Raises `ImageError` if a mask image cannot be read."""
        from agent.finishing import Finishing
        from agent.regions import RegionMask, is_region
        from imaging.preparing import prepared
        from imaging.reading import read_image

        mask, region = None, self.region
        if region:
            mask = RegionMask.of(region, None if is_region(region) else prepared(read_image(Path(region))))
        return Finishing(self.strength, mask, None, self.strip_metadata, self.keep_print_size)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of every run."""

    overwrite: OverwriteOption = False
    runs: RunsOption = None
    memory: MemoryOption = None
    quiet: QuietOption = False
