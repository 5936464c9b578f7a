"""Loading of profiles, by name (predefined) or by path (a TOML file)."""

from __future__ import annotations

import difflib
import reprlib
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

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
    near = difflib.get_close_matches(_plain(wanted), names, n=2)
    guess = f"did you mean {' or '.join(names[name].name for name in near)}? " if near else ""
    raise UnknownProfile(
        f"unknown profile {wanted!r}",
        f"{guess}`restore4k profiles` lists all; the name of your own file must end in .toml",
    )


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
        if path.exists() and not path.is_file():  # reading a named pipe would block
            raise ProfileError(f"profile {path} is not a regular file", "give a .toml file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ProfileError(f"profile {path} has {size} bytes", f"a profile has at most {MAX_BYTES}")
        return parse_profile(path.read_bytes(), path.name)
    except FileNotFoundError as error:
        raise UnknownProfile(f"there is no profile file {path}", "give an existing .toml file or a name") from error
    except OSError as error:
        raise ProfileError(f"profile {path} cannot be read: {error.strerror}") from error


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
