"""Arguments of the tools: an image, given in one of four ways, and those that several tools share."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.reasoners.reasoner import CallerReasoner
from agent.reasoners.replies import Rating, findings_of
from server.errors import BadData, RequestError
from server.mcp.workspace import HANDLE_PATTERN
from server.profile_options import LONG_SIDES
from toolbox.tasks import Degradation, Task

MAX_DATA_BYTES = 16 << 20
MAX_DATA_CHARACTERS = -(-MAX_DATA_BYTES // 3) * 4


class InputImage(BaseModel):
    """An image, given in exactly one way."""

    model_config = ConfigDict(extra="forbid")

    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="File on the server's machine, inside its allowed folders. Prefer this for files.",
    )
    handle: str | None = Field(
        default=None,
        pattern=HANDLE_PATTERN,
        description="Handle (img_...) from an earlier result of this server. Prefer this for every image made here.",
    )
    data: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_DATA_CHARACTERS,
        description="The file's bytes in base64, at most 16 MiB. Only for images that are neither of the above.",
    )
    url: str | None = Field(
        default=None,
        min_length=1,
        max_length=2048,
        description="Public https address of an image file. Fails unless the server was started with --allow-urls.",
    )

    @model_validator(mode="before")
    @classmethod
    def _an_object(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError('give an object, for example {"path": "holiday/beach.jpg"} or {"handle": "img_..."}')
        return given

    @model_validator(mode="after")
    def _exactly_one(self) -> InputImage:
        given = [name for name in ("path", "handle", "data", "url") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of path, handle, data and url, not {' and '.join(given) or 'none'}")
        return self


def decode_data(data: str) -> bytes:
    """The bytes of base64 text, which may be a data URL and hold line breaks. Raises `BadData`."""
    text = data.partition(",")[2] if data.startswith("data:") else data
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadData(f"the image data is not base64: {error}", "encode the file's bytes, or give a path") from error


ImageArgument: TypeAlias = Annotated[
    InputImage,
    Field(
        description='The image: {"path": ...}, {"handle": ...}, {"data": ...} or {"url": ...}.',
        examples=[{"path": "holiday/beach.jpg"}, {"handle": "img_0123456789ab"}],
    ),
]
ProfileArgument: TypeAlias = Annotated[
    str,
    Field(
        max_length=4096,
        description="Name of a profile (list_profiles shows them), or path of a .toml file in an allowed folder.",
        examples=["default", "ExpSR-s4-F", "document"],
    ),
]
ScaleArgument: TypeAlias = Annotated[
    Literal[2, 4, 8, 16] | None,
    Field(description="Enlarge by exactly this factor; null: as the profile sets.", examples=[2]),
]
LongSideArgument: TypeAlias = Annotated[
    int | None,
    Field(
        ge=LONG_SIDES[0],
        le=LONG_SIDES[1],
        description="Longer side of the result in pixels; the aspect ratio is kept. null: the profile's (4096).",
        examples=[1920, 4096],
    ),
]
ExpertArgument: TypeAlias = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Name of one expert (list_experts shows them); null: Q-MoE runs the shortlisted ones.",
        examples=["restore4k_denoise"],
    ),
]
FindingsArgument: TypeAlias = Annotated[
    list[Rating] | None,
    Field(
        max_length=len(Degradation),
        description="Degradations that you see in the photo. They replace the built-in estimate; those left out "
        "count as absent ([]: a clean photo). null: use the built-in estimate.",
        examples=[[{"degradation": "haze", "severity": "high"}, {"degradation": "noise", "severity": "low"}], []],
    ),
]
DescriptionArgument: TypeAlias = Annotated[
    str | None,
    Field(
        max_length=1000,
        description="Your description of the photo in one sentence. Requires findings.",
        examples=["A harbour in the morning, seen through fog."],
    ),
]
OrderArgument: TypeAlias = Annotated[
    list[Task] | None,
    Field(
        max_length=20,
        description="Your plan: exactly these tasks in this order; include super_resolution to enlarge the photo. "
        "null: the tasks that the findings require, in the order of the expert prior.",
        examples=[["denoising", "super_resolution"]],
    ),
]
SecondsArgument: TypeAlias = Annotated[
    float | None,
    Field(
        gt=0,
        description="Start no further step after this many seconds and return the best result; null: as the profile "
        "sets (most have no limit).",
        examples=[60],
    ),
]
ExpertRunsArgument: TypeAlias = Annotated[
    int | None,
    Field(
        ge=1,
        description="Stop after N expert runs and return the best result; null: as the profile sets.",
        examples=[6],
    ),
]
ExpertsArgument: TypeAlias = Annotated[
    list[Annotated[str, Field(max_length=80)]] | None,
    Field(
        max_length=20,
        description="Experts to use for their tasks regardless of scores (list_experts shows them); Q-MoE chooses "
        "for every other task. null: Q-MoE chooses for every task.",
        examples=[["restore4k_denoise", "restore4k_sr_x4"]],
    ),
]
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tiff"}
FormatArgument: TypeAlias = Annotated[
    Literal["png", "jpeg", "webp", "tiff"],
    Field(description="File format of the result; png and tiff are lossless.", examples=["png"]),
]
SideArgument: TypeAlias = Annotated[
    int, Field(ge=1, le=LONG_SIDES[1], description="In pixels, as in the plan.", examples=[4096])
]
FailedArgument: TypeAlias = Annotated[
    list[Task] | None,
    Field(
        max_length=20,
        description="With `plan`: tasks of it that were tried first and failed. The answer has the same tasks in an "
        "order that starts with another one, as restore_to_4k does after a rollback. null: none has failed.",
        examples=[["denoising"]],
    ),
]
HandleArgument: TypeAlias = Annotated[str, Field(pattern=HANDLE_PATTERN, examples=["img_0123456789ab"])]


def caller(findings: list[Rating] | None, description: str | None) -> CallerReasoner | None:
    """A reasoner with the caller's findings; None without findings. Raises `RestoreError` for contradictions."""
    if findings is None:
        if description is not None:
            raise RequestError("a description without findings does not change the plan", "give findings too")
        return None
    return CallerReasoner(findings=findings_of(findings), description=description or "")
