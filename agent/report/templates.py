"""The Jinja2 environment of the HTML pages: every value is escaped, and pages are self-contained."""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agent.report import text


@cache
def page_templates(*packages: str) -> Environment:
    """The templates of the report and of `packages`, each from its folder `templates`, compiled once in a process.

    ``source(name)`` gives a style sheet or script unescaped; values are formatted by the functions of `text`.
    """
    loader = ChoiceLoader([PackageLoader(package) for package in ("agent.report", *packages)])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    formats = (text.words, text.decimal, text.short, text.percent, text.duration, csp_hash, unit_share)
    environment.filters.update({function.__name__: function for function in formats})
    environment.globals["size"] = text.size
    environment.globals["source"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment


def jpeg_uri(data: bytes) -> str:
    """A JPEG file as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def csp_hash(script: str) -> str:
    """The hash by which a Content-Security-Policy allows an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def unit_share(value: float) -> str:
    """The value clipped to [0, 1] for CSS and SVG; 0 if it is not finite."""
    return f"{min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0:.3f}"
