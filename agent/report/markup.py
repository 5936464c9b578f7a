"""HTML in which every value is text unless it is markup already, and numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape


class Html(str):
    """Markup. Whatever else is put into markup is text, and escaped."""


NO_PICTURE = Html('<span class="no-picture">no picture</span>')


def fill(markup: str, /, **values: object) -> Html:
    """Fill the fields of `markup`, which is ours, with values, which are anybody's; sequences are joined."""
    return Html(markup.format_map({key: _escaped(value) for key, value in values.items()}))


def join(parts: Iterable[object]) -> Html:
    """One after another."""
    return Html("".join(map(_escaped, parts)))


def bullets(items: Sequence[str]) -> Html:
    """A list, or nothing where it would be empty."""
    return fill("<ul>{items}</ul>", items=[fill("<li>{item}</li>", item=item) for item in items]) if items else Html()


def bar(share: float, text: str) -> Html:
    """A bar that is filled by `share`, 0..1, and what it says."""
    length = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return fill(
        '<span class="bar"><i style="--share:{share}"></i></span> <span class="number">{text}</span>',
        share=f"{length:.3f}",
        text=text,
    )


def measured(values: Mapping[str, float]) -> Html:
    """Named numbers, each of which stays on one line."""
    return join(
        fill(
            "<span>{name} {value}</span> ",
            name=name.replace("_", " "),
            value=f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}",
        )
        for name, value in values.items()
    )


def decimal(value: float) -> str:
    """Three digits after the point."""
    return f"{value:.3f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def size(width: int, height: int) -> str:
    """Width and height in pixels."""
    return f"{width} × {height}"


def _escaped(value: object) -> str:
    if isinstance(value, Html):
        return value
    if isinstance(value, list | tuple):
        return join(value)
    return escape(str(value))
