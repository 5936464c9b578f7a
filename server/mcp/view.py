"""The view of a restoration for clients that speak MCP Apps: the page of the report, filled and driven by view.js."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from string import Template

from mcp.server.apps import Apps

VIEW = "ui://restore4k/report"
SHOWN_IN_VIEW = {"ui": {"resourceUri": VIEW}}
"""The `_meta` of a tool whose result the view shows."""
STATUS = '<p class="status" id="told" role="status" tabindex="-1">Waiting for the restoration.</p>'
CONTROLS = """\
<div id="again" role="group" hidden aria-label="Restore again">
<label>Profile <select></select></label> <button type="button">Restore again</button>
</div>
"""
STYLE = """
#again { display: flex; flex-wrap: wrap; gap: .75rem; align-items: center; margin-bottom: 1.5rem; }
#again label { display: flex; gap: .5rem; align-items: center; min-width: 0; }
#again select {
  font: inherit; color: inherit; background: var(--mount); border: 1px solid var(--line); border-radius: 2px;
  padding: .3rem .5rem; min-width: 0; max-width: min(30rem, 70vw);
}
button:disabled, select:disabled { cursor: wait; opacity: .6; }
#told { margin: 1rem 0; }
#told.error { border-left-color: var(--bad); }
.choose { margin-top: .5rem; }
header { padding: .75rem 0 1.25rem; }
/* Not by the frame's height, which follows the page's. */
@media screen { [data-ready] main > .compare { width: min(100%, 36rem * var(--ratio)); } }
"""


def add_view(apps: Apps) -> None:
    """Put the page on the extension."""
    apps.add_html_resource(
        VIEW,
        view_page(),
        name="report",
        title="A restoration",
        description="Before and after, the candidates of each step, and restoring again by another one.",
        prefers_border=False,
    )


def view_page() -> str:
    """The report's page with nothing in it yet; it allows no script but its own two."""
    template = (resources.files("agent") / "report" / "report.html").read_text("utf-8")
    script = (resources.files("server") / "mcp" / "view.js").read_text("utf-8")
    reports = template.partition("<script>")[2].partition("</script>")[0]
    top, _, bottom = template.partition("<main>")
    page = (
        re.sub(r"<header>.*?</header>", f"{STATUS}\n{CONTROLS}<header></header>", top, flags=re.DOTALL)
        + "<main></main>"
        + bottom.partition("</main>")[2]
    )
    page = page.replace("</style>", _themes(template) + STYLE + "</style>", 1)
    page = page.replace("</body>", f"<script>{script}</script>\n</body>", 1)
    page = page.replace("'sha256-$script_hash'", f"{_hash(reports)} {_hash(script)}")
    return Template(page.replace("${", "$${")).safe_substitute(title="A photo")


def _themes(template: str) -> str:
    """The page's two sets of colours for a client that names its theme, whatever the system's is."""
    light, dark = re.findall(r":root \{\n(.*?)\}", template, re.DOTALL)[:2]
    return f'\n:root[data-theme="light"] {{ {light} }}\n:root[data-theme="dark"] {{ {dark} color-scheme: dark; }}\n'


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
