"""The files of fitted parameters in iqa/."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from iqa.errors import BadParameters

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Raise `BadParameters` for any error inside the block, which reads iqa/`file`."""
    try:
        yield
    except Exception as error:
        raise BadParameters(f"iqa/{file} is not usable: {error!r}", "install restore4k again") from error


@cache
def read_toml(file: str) -> dict[str, Any]:
    """The tables of iqa/`file`, shared by all callers: do not modify them."""
    return tomllib.loads((resources.files("iqa") / file).read_text("utf-8"))


def read_tensors(file: str) -> tuple[dict[str, Tensor], Any]:
    """The tensors of the safetensors file iqa/`file` in float32, and the JSON of its metadata entry `names`."""
    from safetensors import safe_open

    with resources.as_file(resources.files("iqa") / file) as path, safe_open(path, framework="pt") as stored:
        names = json.loads((stored.metadata() or {}).get("names", "null"))
        return {key: stored.get_tensor(key).float() for key in stored.keys()}, names  # noqa: SIM118
