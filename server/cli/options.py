"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from imaging.pixels import MEMORY_VARIABLE


def _keep_within(gigabytes: float | None) -> float | None:
    """Where imaging.pixels, in this process and in those that it starts, looks for the budget."""
    if gigabytes is not None:
        os.environ[MEMORY_VARIABLE] = str(gigabytes)
    return gigabytes


ImageArgument = Annotated[Path, typer.Argument(help="The photo: PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC.")]
ProfileOption = Annotated[str, typer.Option("--profile", "-p", help="Name of a profile, or a .toml file.")]
ScaleOption = Annotated[int | None, typer.Option("--scale", help="Enlarge so many times: 2, 4, 8 or 16.")]
LongSideOption = Annotated[
    int | None,
    typer.Option("--long-side", help="Longer side of the result in pixels; otherwise 4096, or as the profile says."),
]
RunsOption = Annotated[
    Path | None, typer.Option("--runs", help="Folder of run folders, instead of RESTORE4K_RUNS or the state folder.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the result if it is there already.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
ReasonerOption = Annotated[
    Literal["rules", "endpoint", "local"] | None,
    typer.Option(
        "--reasoner",
        help="Who looks, plans and breaks ties: the rules, a chat endpoint or a local vision-language model; "
        "otherwise RESTORE4K_REASONER, or as the profile says.",
    ),
]
NonCommercialOption = Annotated[
    bool, typer.Option("--non-commercial", help="Also use experts whose licence forbids commercial use.")
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory",
        min=0.1,
        callback=_keep_within,
        help="Gigabytes that it may take: what large pictures need beyond that lies in temporary files. The result "
        "is the same. Otherwise RESTORE4K_MEMORY, or half of what is free.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
