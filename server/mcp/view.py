"""The view of a restoration for clients with MCP Apps: the report's page, filled and driven by templates/view.js."""

from __future__ import annotations

from mcp.server.apps import Apps

from agent.report.templates import page_templates

VIEW = "ui://restore4k/report"
SHOWN_IN_VIEW = {"ui": {"resourceUri": VIEW}}
"""The `_meta` of a tool whose result the view shows."""


def add_view(apps: Apps) -> None:
    """Add the page to the extension."""
    apps.add_html_resource(
        VIEW,
        view_page(),
        name="report",
        title="A restoration",
        description="Before and after, the candidates of each step, and controls to restore again with another one.",
        prefers_border=False,
    )


def view_page() -> str:
    """The report's page without a report; its Content-Security-Policy allows only its own two scripts."""
    template = page_templates("server.mcp").get_template("view.html.j2")
    return template.render(title="A photo", styles=("report.css", "view.css"), scripts=("report.js", "view.js"))
