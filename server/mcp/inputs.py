"""The arguments that several tools share, and their parsing.

Schemas are flat and short, because every client sends them with every conversation; parsing is lenient, and an error
shows a form that is accepted.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import BeforeValidator, Field, WithJsonSchema

from agent.errors import RegionError
from agent.reasoners.reasoner import CallerReasoner
from agent.reasoners.replies import Rating, findings_of
from agent.regions import FORMS as REGIONS
from agent.regions import is_region
from server.errors import BadData, RequestError
from server.mcp.workspace import HANDLE_PATTERN
from server.target_size import TargetSize, parse_size
from toolbox.tasks import Degradation, Task

MAX_DATA_BYTES = 16 << 20
MAX_DATA_CHARACTERS = -(-MAX_DATA_BYTES // 3) * 4
MAX_PATH = 4096
MOST_TASKS = 20
MOST_SECONDS = 3600.0
RUN_ID = r"\d{8}-\d{6}-[0-9a-f]{6,32}"
FORMS = (
    'give one string: a handle "img_...", a path "holiday/beach.jpg", "run://<id>", or "data:image/png;base64,..."'
)
NAMES_OF_IMAGES = ("path", "handle", "data", "url", "uri", "file", "image")
"""Keys of an object that some models send instead of a string."""


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image as the caller names it."""

    kind: Literal["path", "handle", "data", "url", "run"]
    value: str

    @property
    def text(self) -> str:
        """A string that names the image again."""
        named = {"run": f"run://{self.value}", "data": "(the same data)"}
        return named.get(self.kind, self.value)

    @classmethod
    def parse(cls, given: object) -> InputImage:
        """The image named by a string or by an object with one string. Raises `ValueError`."""
        if isinstance(given, InputImage):
            return given
        if isinstance(given, Mapping):
            given = _only_string(given)
        if not isinstance(given, str) or not given.strip():
            raise ValueError(FORMS)
        if len(given) > MAX_DATA_CHARACTERS + MAX_PATH:
            raise ValueError(f"image data has at most {MAX_DATA_BYTES >> 20} MiB; give a path")
        return cls._of_text(given.strip().strip("\"'`") if len(given) < MAX_PATH else given)

    @classmethod
    def _of_text(cls, text: str) -> InputImage:
        scheme, _, rest = text.partition(":") if len(text) < MAX_PATH else (text[:5].rstrip(":"), "", "")
        match scheme.lower():
            case "data":
                return cls("data", text)
            case "image":
                return cls("handle", rest.strip("/").partition("/")[0])
            case "run":
                return cls("run", rest.strip("/").partition("/")[0])
            case "http" | "https":
                return cls("url", text)
            case "file":
                return cls("path", url2pathname(urlsplit(text).path))
        if re.fullmatch(HANDLE_PATTERN, text.lower()):
            return cls("handle", text.lower())
        if re.fullmatch(RUN_ID, text):
            return cls("run", text)
        return cls("data" if len(text) >= MAX_PATH else "path", text)


def _only_string(given: Mapping[str, Any]) -> str:
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1 or not set(named) <= set(NAMES_OF_IMAGES):
        raise ValueError(FORMS)
    ((name, value),) = named.items()
    if not isinstance(value, str) or not value:
        raise ValueError(FORMS)
    return f"data:,{value}" if name == "data" and not value.startswith("data:") else value


def mask_image(region: str | None) -> InputImage | None:
    """The mask image that a region argument names; None if it describes a region. Raises `RegionError` if neither."""
    if not region or is_region(region):
        return None
    image = InputImage.parse(region)
    if image.kind == "path" and not (Path(image.value).suffix or Path(image.value).is_absolute()):
        raise RegionError(f"there is no region {region[:80]!r}", REGIONS)
    return image


def decode_data(data: str) -> bytes:
    """The bytes of base64 text, which may be a data URI and hold line breaks. Raises `BadData`."""
    text = data.partition(",")[2] if data.startswith("data:") else data
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadData(f"the image data is not base64: {error}", "encode the file's bytes, or give a path") from error


def words(given: object) -> object:
    """A list of words, from a list or from text with separators."""
    if isinstance(given, str):
        return [word for part in re.split(r"[,;+\n]|->|→", given) if (word := part.strip().strip("\"'[]"))]
    return given


def task_of(given: object) -> object:
    """The task with this name, or with a tool or degradation of this name, in any spelling."""
    if not isinstance(given, str):
        return given
    name = re.sub(r"[\s-]+", "_", given.strip().lower())
    name = re.sub(r"_?\(?[0-9.]+x\)?$", "", name)
    return TASK_NAMES.get(name, name)


def _findings(given: object) -> object:
    """`haze high, noise low` as a list of ratings; an empty text is a clean photo."""
    found = list[object]()
    entries = words(given) if isinstance(given, str) else given
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, str):
            severity = re.search(r"\b(very[ _-]?(?:low|high)|low|medium|high|none|absent)\b", entry.lower())
            name = re.sub(r"[\s:=()_-]+", "_", entry.lower().replace(severity[0] if severity else "", "")).strip("_")
            if name in ("none", "clean", "nothing", ""):
                continue
            level = severity[0].replace("none", "very low").replace("absent", "very low") if severity else "medium"
            found.append({"degradation": DEGRADATION_NAMES.get(name, name), "severity": level})
            continue
        found.append(entry)
    return found


def _format(given: object) -> object:
    """The name of a format, in any case, with or without a leading dot."""
    name = given.strip().lower().lstrip(".") if isinstance(given, str) else given
    return {"jpg": "jpeg", "tif": "tiff"}.get(name, name) if isinstance(name, str) else name


def _handle(given: object) -> object:
    """The handle without image:// and quotes."""
    return given.strip().strip("\"'").removeprefix("image://").lower() if isinstance(given, str) else given


def _strength(given: object) -> float:
    """0 to 1, also from a text or a percentage. Raises `ValueError`."""
    number = re.fullmatch(r"([0-9.]+)\s*(%|percent)?", str(given).strip())
    try:
        strength = float(number[1]) / (100 if number[2] else 1) if number else -1.0
    except ValueError:  # more than one decimal point
        strength = -1.0
    if not 0 <= strength <= 1:
        raise ValueError(f"{str(given)[:20]!r} is not from 0 to 1; half is 0.5")
    return strength


def scale_of(given: object) -> object:
    """A factor, also from a text such as `2x` or `x2`."""
    factor = re.fullmatch(r"x?\s*([0-9.]+)\s*(x|times)?", given.strip().lower()) if isinstance(given, str) else None
    return factor[1] if factor else given


def _region(given: object) -> object:
    """A region as text; models also send lists of numbers."""
    if isinstance(given, list):
        flat = [number for one in given for number in (one if isinstance(one, list) else [one])]
        return ",".join(str(number) for number in flat)
    if isinstance(given, dict) and set(given) >= {"x", "y", "width", "height"}:
        return ",".join(str(given[name]) for name in ("x", "y", "width", "height"))
    return given


TASK_TOOL_NAMES = {
    "denoise": Task.DENOISING,
    "dehaze": Task.DEHAZING,
    "derain": Task.DERAINING,
    "brighten": Task.BRIGHTENING,
    "deblur_motion": Task.MOTION_DEBLURRING,
    "deblur_defocus": Task.DEFOCUS_DEBLURRING,
    "remove_jpeg_artifacts": Task.JPEG_ARTIFACT_REMOVAL,
    "restore_faces": Task.FACE_RESTORATION,
    "restore_old_photo": Task.OLD_PHOTO_RESTORATION,
    "super_resolve": Task.SUPER_RESOLUTION,
}
"""The tool of each task."""
DEGRADATION_NAMES = {
    "jpeg": "jpeg_artifact", "jpeg_artifacts": "jpeg_artifact", "compression": "jpeg_artifact",
    "darkness": "dark", "low_light": "dark", "fog": "haze", "grain": "noise", "scratches": "old_photo",
    "defocus": "defocus_blur", "out_of_focus": "defocus_blur", "motion": "motion_blur",
    "faces": "low_quality_face", "low_res": "low_resolution",
}  # fmt: skip
"""Other names of degradations that models use."""
NO_STEPS = ("", "none", "nothing")
"""Texts for a plan without steps; None means that no plan is given."""
TASK_NAMES: dict[str, str] = {
    **{name: task.value for name, task in TASK_TOOL_NAMES.items()},
    **{degradation.value: degradation.task.value for degradation in Degradation},
    **{name: Degradation(degradation).task.value for name, degradation in DEGRADATION_NAMES.items()},
    **dict.fromkeys(("upscale", "upscaling", "enlarge", "sr", "superresolution"), "super_resolution"),
}


def as_text(description: str) -> WithJsonSchema:
    """The schema of an argument that models give as text."""
    return WithJsonSchema({"type": "string", "description": description})


ImageArgument: TypeAlias = Annotated[
    InputImage, BeforeValidator(InputImage.parse), as_text("Handle, path, run:// or data: URI.")
]
OptionalImage: TypeAlias = Annotated[
    InputImage | None, BeforeValidator(lambda given: None if given is None else InputImage.parse(given))
]
SizeArgument: TypeAlias = Annotated[
    TargetSize | None,
    BeforeValidator(lambda given: None if given in (None, "") else parse_size(given)),
    as_text("4K (default), 8K, 2x, 1.5x, 1920 (longer side), width 900, 12 MP, 1200x800 crop, A4 at 300 dpi."),
]
"""The size of one result."""
ProfileArgument: TypeAlias = Annotated[
    str, BeforeValidator(str), Field(max_length=MAX_PATH, description="See list_profiles.")
]
ScaleArgument: TypeAlias = Annotated[
    float, BeforeValidator(scale_of), Field(gt=1, le=16, description="2 or 4, also 1.5 or 3; 8x: 2, then 4.")
]
OriginalArgument: TypeAlias = Annotated[OptionalImage, as_text("The photo before any step.")]
ExpertArgument: TypeAlias = Annotated[str | None, Field(max_length=80)]
FindingsArgument: TypeAlias = Annotated[
    list[Rating] | None,
    Field(max_length=len(Degradation)),
    BeforeValidator(lambda given: None if given is None else _findings(given)),
    as_text("What you see, replaces the estimate: haze high, noise low; or none."),
]
DescriptionArgument: TypeAlias = Annotated[
    str | None, Field(max_length=1000, description="One sentence; with findings.")
]
TaskNamed: TypeAlias = Annotated[Task, BeforeValidator(task_of)]
OrderArgument: TypeAlias = Annotated[
    list[TaskNamed] | None,
    Field(max_length=MOST_TASKS),
    BeforeValidator(lambda given: [] if str(given).strip().lower() in NO_STEPS else words(given)),
    as_text("Your own steps in order: denoising, super_resolution."),
]
TaskArgument: TypeAlias = Annotated[
    Task,
    BeforeValidator(lambda given: task_of(given[0] if isinstance(given, list) and len(given) == 1 else given)),
    as_text("Such as denoising, or the name of its tool."),
]
FailedArgument: TypeAlias = Annotated[
    list[TaskNamed] | None,
    Field(max_length=MOST_TASKS),
    BeforeValidator(words),
    as_text("With plan: tasks of it that failed as the first step."),
]
SecondsArgument: TypeAlias = Annotated[float | None, Field(gt=0)]
ExpertRunsArgument: TypeAlias = Annotated[int | None, Field(ge=1)]
ExpertsArgument: TypeAlias = Annotated[
    list[Annotated[str, Field(max_length=80)]] | None,
    Field(max_length=32),
    BeforeValidator(words),
    as_text("From list_experts, comma-separated."),
]
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tiff"}
FormatArgument: TypeAlias = Annotated[
    Literal["png", "jpeg", "webp", "tiff"], BeforeValidator(_format), as_text("png, jpeg, webp or tiff.")
]
OutputArgument: TypeAlias = Annotated[
    str | None,
    Field(max_length=MAX_PATH, description="Name or sub-folder/name, or a format: jpeg, webp, tiff."),
]
DetailArgument: TypeAlias = Annotated[
    float | None, Field(ge=0, le=1, description="Enlargement: 0 faithful - 1 textured.")
]
StripArgument: TypeAlias = Annotated[bool, Field(description="Save without EXIF and GPS.")]
StrengthArgument: TypeAlias = Annotated[
    float,
    BeforeValidator(_strength),
    WithJsonSchema({"type": "number", "description": "0-1: blend with the input."}),
]
RegionArgument: TypeAlias = Annotated[
    str | None,
    Field(max_length=MAX_PATH),
    BeforeValidator(_region),
    as_text("x,y,w,h, polygon, faces or mask image."),
]
HandleArgument: TypeAlias = Annotated[str, BeforeValidator(_handle), Field(pattern=HANDLE_PATTERN)]
WaitArgument: TypeAlias = Annotated[
    float | None, Field(ge=0, le=MOST_SECONDS, description="Then reply with the state; default 45.")
]


def caller(findings: list[Rating] | None, description: str | None) -> CallerReasoner | None:
    """A reasoner with the caller's findings; None without findings. Raises `RestoreError` for contradictions."""
    if findings is None:
        if description is not None:
            raise RequestError("a description without findings does not change the plan", "give findings too")
        return None
    return CallerReasoner(findings=findings_of(findings), description=description or "")
