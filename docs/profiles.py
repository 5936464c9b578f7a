"""The profiles and their keys, from the schema and the predefined files."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from docs.markdown import table
from profiles.loading import predefined_profiles
from profiles.schema import Profile


def overview() -> str:
    """Every predefined profile, with the keys in which it differs from the defaults."""
    rows = []
    for profile in predefined_profiles().values():
        values = profile.model_dump(mode="json", exclude={"name", "about"}, exclude_defaults=True)
        rows.append(
            (f"`{profile.name}`", profile.about, ", ".join(f"`{key} = {_toml(values[key])}`" for key in values))
        )
    return table(("profile", "use it for", "keys that differ from the defaults"), rows)


def keys() -> str:
    """Every key of a profile."""
    fields = {name: field for name, field in Profile.model_fields.items() if name != "name"}
    rows = (
        (f"`{name}`", _kind(field.annotation), _default(field), field.description) for name, field in fields.items()
    )
    return table(("key", "type", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    return "–" if field.default is None else f"`{_toml(field.default)}`"


def _toml(value: object) -> str:
    return json.dumps(value)


def _kind(annotation: Any) -> str:
    """The type of a key in words."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{_toml(value)}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_kind(get_args(annotation)[0])}"
    if arguments := [argument for argument in get_args(annotation) if argument is not type(None)]:
        return " or ".join(map(_kind, arguments))
    return {"str": "text", "bool": "true or false", "int": "integer", "float": "number", "Task": "tasks"}[
        annotation.__name__
    ]
