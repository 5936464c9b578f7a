"""Loading of profiles, by name (predefined) or by path (a TOML file)."""

from __future__ import annotations

import difflib
import re
import reprlib
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from imaging.opening import read_small
from profiles.errors import ProfileError, UnknownProfile
from profiles.schema import Profile

MAX_BYTES = 16 * 1024


@cache
def predefined_profiles() -> dict[str, Profile]:
    """All predefined profiles by name."""
    folder = resources.files("profiles") / "predefined"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {profile.name: profile for profile in (parse_profile(file.read_bytes(), file.name) for file in files)}


def load_profile(name_or_path: str | Path) -> Profile:
    """The predefined profile with that name (ignoring case and `-`/`_`), or the profile in that TOML file."""
    wanted = str(name_or_path)
    if wanted.endswith(".toml"):
        return _from_file(Path(wanted))
    names = {_plain(name): profile for name, profile in predefined_profiles().items()}
    if found := names.get(_plain(wanted)):
        return found
    near = [names[name].name for name in difflib.get_close_matches(_plain(wanted), names, n=2)] or _described(wanted)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    raise UnknownProfile(
        f"unknown profile {wanted!r}",
        f"{guess}`restore4k profiles` lists all; the name of your own file must end in .toml",
    )


def _described(words: str) -> list[str]:
    """Up to three predefined profiles whose description has all these words."""
    wanted = re.findall(r"[a-z]{3,}", words.lower())
    fitting = [
        name for name, one in predefined_profiles().items() if all(word in one.about.lower() for word in wanted)
    ]
    return fitting[:3] if wanted else []


def parse_profile(toml: bytes, file_name: str) -> Profile:
    """The profile in a TOML text, named after its file. Raises `ProfileError`, which names the file and the key."""
    try:
        table = tomllib.loads(toml.decode("utf-8"))
    except (
        ValueError,
        RecursionError,
    ) as error:  # also for numbers with thousands of digits and for deeply nested lists
        raise ProfileError(f"profile {file_name} is not TOML: {error}") from error
    try:
        return Profile.model_validate({"name": file_name.removesuffix(".toml"), **table})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the profile"
        hint = ""
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, Profile.model_fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(Profile.model_fields)}"
        raise ProfileError(
            f"profile {file_name}, key {key[:80]!r}: {first['msg']} (got {reprlib.repr(first['input'])})", hint
        ) from error


def _from_file(path: Path) -> Profile:
    try:
        return parse_profile(read_small(path, MAX_BYTES), path.name)
    except FileNotFoundError as error:
        raise UnknownProfile(f"there is no profile file {path}", "give an existing .toml file or a name") from error
    except OSError as error:
        raise ProfileError(f"profile {path} cannot be read: {error.strerror}") from error


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
