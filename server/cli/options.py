"""Arguments and options that several commands share, in groups that are small frozen values."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

if TYPE_CHECKING:
    from profiles.schema import Profile

ImageArgument = Annotated[Path, typer.Argument(help="The photo: PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC.")]
ReasonerOption = Annotated[
    Literal["rules", "endpoint", "local"] | None,
    typer.Option(
        "--reasoner",
        help="Assesses the photo, orders the steps and breaks ties: the built-in rules, a chat endpoint or a local "
        "vision-language model. Default: RESTORE4K_REASONER, otherwise the profile's.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, and nothing else.")]
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
    """The profile and what changes its plan."""

    profile: Annotated[str, typer.Option("--profile", "-p", help="Name of a profile, or a .toml file.")] = "default"
    scale: Annotated[int | None, typer.Option("--scale", help="Enlarge by this factor: 2, 4, 8 or 16.")] = None
    long_side: Annotated[
        int | None,
        typer.Option(
            "--long-side", help="Longer side of the result in pixels. Default: the profile's, otherwise 4096."
        ),
    ] = None
    reasoner: ReasonerOption = None
    non_commercial: Annotated[
        bool, typer.Option("--non-commercial", help="Also use experts whose licence forbids commercial use.")
    ] = False

    def choose(self, max_seconds: float | None = None, max_runs: int | None = None) -> Profile:
        """The profile with these changes and budgets. Raises `ProfileError` and `RequestError`."""
        from server.profile_options import choose_profile

        return choose_profile(
            self.profile,
            scale=self.scale,
            long_side=self.long_side,
            reasoner=self.reasoner,
            max_seconds=max_seconds,
            max_expert_runs=max_runs,
            non_commercial=self.non_commercial,
        )


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
class RunOptions:
    """How a run works and writes, whatever it restores."""

    overwrite: OverwriteOption = False
    runs: RunsOption = None
    memory: MemoryOption = None
    quiet: QuietOption = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter that is a dataclass replaced by its fields, which is what typer reads."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
