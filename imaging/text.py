"""Escapes text from files, names, models and other servers for messages and terminals."""

from __future__ import annotations

import re

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and line feed, surrogates, and bidirectional control characters."""


def printable(text: str) -> str:
    r"""The text as valid Unicode without terminal commands; `UNPRINTABLE` characters become escapes.

    >>> print(printable("caf\udce9 \x1b[2J"))
    caf\udce9 \x1b[2J
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
