"""Prompts that a person can choose in a client; their texts are in prompt_texts/."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated, Any

import anyio.to_thread
from mcp import MCPError
from mcp.server import MCPServer
from mcp.types import INVALID_PARAMS
from pydantic import Field

from imaging.errors import RestoreError
from server.errors import RequestError
from server.mcp.service import Service, photos_below

MOST_IN_A_FOLDER = 200

PhotoArgument = Annotated[
    str, Field(description="Path of the photo inside an allowed folder, or its handle (img_...).")
]
WantedProfile = Annotated[str, Field(description="Name of a profile; default suits most photos.")]


def add_prompts(server: MCPServer[Any], service: Service) -> None:
    """Register the five prompts."""
    _add_prompts_for_pictures(server)

    @server.prompt(name="restore_folder", title="Restore a folder", description="Restore every photo of a folder.")
    async def restore_folder(
        folder: Annotated[str, Field(description="Folder inside an allowed folder.")],
        profile: WantedProfile = "default",
    ) -> str:
        try:
            photos = await anyio.to_thread.run_sync(_photos, service, folder)
        except RestoreError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error
        listing = "\n".join(f"- {json.dumps(str(photo))}" for photo in photos)
        return _filled("restore_folder", listing, folder=folder, profile=profile, count=len(photos))


def _add_prompts_for_pictures(server: MCPServer[Any]) -> None:
    @server.prompt(name="restore_photo", title="Restore a photo", description="Restore a photo in one call.")
    def restore_photo(photo: PhotoArgument, profile: WantedProfile = "default") -> str:
        return _filled("restore_photo", photo=photo, arguments={"image": photo, "profile": profile})

    @server.prompt(
        name="plan_it_yourself",
        title="Restore step by step",
        description="The model assesses the photo, plans, and chooses every candidate itself.",
    )
    def plan_it_yourself(photo: PhotoArgument) -> str:
        return _filled("plan_it_yourself", photo=photo, arguments={"image": photo})

    @server.prompt(
        name="diagnose",
        title="Diagnose a photo",
        description="Report the degradations of a photo without changing it.",
    )
    def diagnose(photo: PhotoArgument) -> str:
        return _filled("diagnose", photo=photo, arguments={"image": photo})

    @server.prompt(
        name="compare",
        title="Compare two pictures",
        description="Which has the better quality, and which the higher fidelity.",
    )
    def compare(first: PhotoArgument, second: PhotoArgument) -> str:
        return _filled("compare", first=first, second=second, arguments={"first": first, "second": second})


def _filled(name: str, listing: str = "", **values: object) -> str:
    """The text of a prompt with a listing, and with its arguments as JSON."""
    text = (resources.files("server") / "mcp" / "prompt_texts" / f"{name}.txt").read_text("utf-8")
    return Template(text).substitute({key: json.dumps(value) for key, value in values.items()}, listing=listing)


def _photos(service: Service, folder: str) -> list[Path]:
    """The photos of a folder that may be read, with those of its sub-folders. Raises `RequestError`."""
    real = service.readable_folder(folder)
    photos = sorted(path for path in photos_below(real) if not path.name.startswith("."))
    if not photos:
        raise RequestError(f"there are no photos in {folder!r}", "photos end in .jpg, .png, .tif, .webp or the like")
    if len(photos) > MOST_IN_A_FOLDER:
        most = f"split it, or restore at most {MOST_IN_A_FOLDER} at a time"
        raise RequestError(f"{len(photos)} photos in {folder!r} are too many for one conversation", most)
    return photos
