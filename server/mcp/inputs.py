"""What tools take: one image in one of four ways, and the few words that most of them share."""

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
        description="Handle (img_...) from an earlier result of this server. Prefer this for everything made here.",
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
        description="Public https address of an image file; most servers are started without leave to fetch any.",
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
    Field(description="Enlarge exactly so many times; null: as the profile says.", examples=[2]),
]
LongSideArgument: TypeAlias = Annotated[
    int | None,
    Field(
        ge=LONG_SIDES[0],
        le=LONG_SIDES[1],
        description="Bring the longer side to so many pixels, the aspect kept; null: as the profile says (4096).",
        examples=[1920, 4096],
    ),
]
ExpertArgument: TypeAlias = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Name of one expert (list_experts shows them); null: Q-MoE runs the promising ones.",
        examples=["restore4k_denoise"],
    ),
]
FindingsArgument: TypeAlias = Annotated[
    list[Rating] | None,
    Field(
        max_length=len(Degradation),
        description="What you have found yourself, by looking: believed instead of our own estimate, and what you "
        "leave out counts as absent ([] means a clean photo). null: use our estimate.",
        examples=[[{"degradation": "haze", "severity": "high"}, {"degradation": "noise", "severity": "low"}], []],
    ),
]
DescriptionArgument: TypeAlias = Annotated[
    str | None,
    Field(
        max_length=1000,
        description="Your description of the photo in a sentence, with findings.",
        examples=["A harbour in the morning, seen through fog."],
    ),
]
OrderArgument: TypeAlias = Annotated[
    list[Task] | None,
    Field(
        max_length=20,
        description="Your plan: exactly these tasks in exactly this order, super_resolution where the photo shall be "
        "enlarged. null: the tasks that the findings ask for, in the order that experience gives.",
        examples=[["denoising", "super_resolution"]],
    ),
]
SecondsArgument: TypeAlias = Annotated[
    float | None,
    Field(
        gt=0,
        description="Begin no further step after so many seconds, and finish with the best so far; null: as the "
        "profile says (most have no limit).",
        examples=[60],
    ),
]
ExpertRunsArgument: TypeAlias = Annotated[
    int | None,
    Field(
        ge=1,
        description="Stop after N expert runs and return the best result; null: as the profile says.",
        examples=[6],
    ),
]
ExpertsArgument: TypeAlias = Annotated[
    list[Annotated[str, Field(max_length=80)]] | None,
    Field(
        max_length=20,
        description="Experts that do their tasks without competition, whatever the scores say (list_experts shows "
        "them); every other task is competed for. null: Q-MoE chooses everywhere.",
        examples=[["restore4k_denoise", "restore4k_sr_x4"]],
    ),
]
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tiff"}
FormatArgument: TypeAlias = Annotated[
    Literal["png", "jpeg", "webp", "tiff"],
    Field(description="File format of the result; png and tiff lose nothing.", examples=["png"]),
]
SideArgument: TypeAlias = Annotated[
    int, Field(ge=1, le=LONG_SIDES[1], description="In pixels, as the plan says it.", examples=[4096])
]
FailedArgument: TypeAlias = Annotated[
    list[Task] | None,
    Field(
        max_length=20,
        description="With `plan`: those of its tasks that were tried first and did not help. The same tasks come "
        "back in an order that begins with another one, as restore_to_4k would go on. null: nothing has failed.",
        examples=[["denoising"]],
    ),
]
HandleArgument: TypeAlias = Annotated[str, Field(pattern=HANDLE_PATTERN, examples=["img_0123456789ab"])]


def caller(findings: list[Rating] | None, description: str | None) -> CallerReasoner | None:
    """The caller as reasoner, where it has found anything out. Raises `RestoreError` where it contradicts itself."""
    if findings is None:
        if description is not None:
            raise RequestError("a description alone says nothing to the planner", "give findings with it")
        return None
    return CallerReasoner(findings=findings_of(findings), description=description or "")
