"""Which files the server may read: those in the allowed folders, after links and `..` are resolved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from server.errors import AccessDenied


def with_home(path: str) -> Path:
    """The path with the home folder for a leading `~`.

    `~name` is not expanded, because the home of another user would reveal that the account exists.
    """
    return Path(path).expanduser() if path == "~" or path.startswith("~/") else Path(path)


class Access:
    """The allowed folders of a server."""

    def __init__(self, allowed: Sequence[Path]) -> None:
        self.allowed = tuple(folder.expanduser().resolve() for folder in allowed)

    def readable(self, path: str) -> Path:
        """The real path of a file that may be read. It need not exist.

        A relative path is resolved in each allowed folder in turn. Raises `AccessDenied`, whose message does not
        reveal whether the file exists.
        """
        try:
            given = with_home(path)
            reals = [(folder / given).resolve() for folder in self.allowed]
        except (OSError, RuntimeError, ValueError) as error:
            raise AccessDenied(f"{path!r} is not a valid path: {error}", self._hint()) from error
        for real in reals:
            if self._is_inside(real) and os.path.exists(real):  # Path.exists raises for names that are too long
                return real
        if not reals or not all(map(self._is_inside, reals)):
            raise AccessDenied(f"{path!r} is outside the allowed folders", self._hint())
        return reals[0]

    def _is_inside(self, real: Path) -> bool:
        return any(real.is_relative_to(folder) for folder in self.allowed)

    def _hint(self) -> str:
        folders = ", ".join(map(str, self.allowed)) or "none"
        return f"allowed: {folders}; start the server with --allow FOLDER to allow more, or send a data: URI"
