"""What tools take: one image in one of four ways, and the few words that most of them share."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.reasoner import CallerReasoner
from agent.replies import Rating, findings_of
from server.choosing import LONG_SIDES
from server.errors import BadData, RequestError
from server.workspace import HANDLE_PATTERN
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
    InputImage, Field(description='The image: {"path": ...}, {"handle": ...}, {"data": ...} or {"url": ...}.')
]
ProfileArgument: TypeAlias = Annotated[
    str,
    Field(
        max_length=4096,
        description="Name of a profile (list_profiles shows them), or path of a .toml file in an allowed folder.",
    ),
]
ScaleArgument: TypeAlias = Annotated[
    Literal[2, 4, 8, 16] | None, Field(description="Enlarge exactly so many times; null: as the profile says.")
]
LongSideArgument: TypeAlias = Annotated[
    int | None,
    Field(
        ge=LONG_SIDES[0],
        le=LONG_SIDES[1],
        description="Bring the longer side to so many pixels, the aspect kept; null: as the profile says (4096).",
    ),
]
ExpertArgument: TypeAlias = Annotated[
    str | None,
    Field(
        max_length=80,
        description="Name of one expert (list_experts shows them); null: Q-MoE runs all, keeps the best.",
    ),
]
FindingsArgument: TypeAlias = Annotated[
    list[Rating] | None,
    Field(
        max_length=len(Degradation),
        description="What you have found yourself, by looking: believed instead of our own estimate, and what you "
        "leave out counts as absent ([] means a clean photo). null: use our estimate.",
    ),
]
DescriptionArgument: TypeAlias = Annotated[
    str | None, Field(max_length=1000, description="Your description of the photo in a sentence, with findings.")
]
OrderArgument: TypeAlias = Annotated[
    list[Task] | None,
    Field(
        max_length=20,
        description="Your plan: exactly these tasks in exactly this order, super_resolution where the photo shall be "
        "enlarged. null: the tasks that the findings ask for, in the order that experience gives.",
    ),
]
HandleArgument: TypeAlias = Annotated[str, Field(pattern=HANDLE_PATTERN)]


def caller(findings: list[Rating] | None, description: str | None) -> CallerReasoner | None:
    """The caller as reasoner, where it has found anything out. Raises `RestoreError` where it contradicts itself."""
    if findings is None:
        if description is not None:
            raise RequestError("a description alone says nothing to the planner", "give findings with it")
        return None
    return CallerReasoner(findings=findings_of(findings), description=description or "")
