"""Numbers, durations, sizes and names as reports and status lines show them."""

from __future__ import annotations

from agent.state import Step


def words(name: Step | str) -> str:
    """A step or an identifier in words, for example ``Super resolution 4×``."""
    words = str(name).replace("_", " ").replace("jpeg", "JPEG").replace(" 4x", " 4×").replace(" 2x", " 2×")
    return words[:1].upper() + words[1:]


def decimal(value: float) -> str:
    """The value with three decimals and a typographic minus sign."""
    return f"{value:.3f}".replace("-", "−")


def short(value: float) -> str:
    """The value with three significant digits, or as an integer from 1000 on."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def percent(share: float) -> str:
    """A share of 1 as a whole percentage."""
    return f"{share:.0%}"


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
