"""The command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from docs.markdown import table
from server.cli.app import app


def reference() -> str:
    """Every command with its arguments and options."""
    return "\n".join(_section(name, command) for name, command in _commands("restore4k", get_command(app)))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands of a group and of the groups in it."""
    group = getattr(command, "commands", None)
    if group is None:
        yield name, command
        return
    for part, one in group.items():
        yield from _commands(f"{name} {part}", one)


def _section(name: str, command: Any) -> str:
    shown = [parameter for parameter in command.params if not parameter.hidden]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    usage = " ".join([name, *(_argument(one) for one in arguments), "[options]"])
    rows = [(_spelling(one), _default(one), one.help) for one in shown]
    text = f"### {name}\n\n{command.help}\n\n```sh\n{usage}\n```\n"
    return f"{text}\n{table(('option', 'default', 'meaning'), rows)}" if rows else text


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name).strip("{}[]").upper()
    many = "..." if parameter.nargs == -1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{option}`" for option in parameter.opts)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "–" if parameter.default in (None, False) else f"`{parameter.default}`"
