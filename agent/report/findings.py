"""The part of the report that says what is wrong with the image, how sure that is, and where."""

from __future__ import annotations

from agent.report.markup import Html, bar, decimal, fill, join, measured
from agent.state import Finding, RunState, Step


def words(name: Step | str) -> str:
    """`super_resolution 4x` as people write it."""
    words = str(name).replace("_", " ").replace("jpeg", "JPEG").replace(" 4x", " 4×").replace(" 2x", " 2×")
    return words[:1].upper() + words[1:]


def findings(state: RunState) -> Html:
    """What was found, the worst first."""
    perception = state.perception
    if perception is None:
        return fill('<p class="empty">Nobody has looked at the image yet.</p>')
    ranked = sorted(perception.findings.items(), key=lambda item: (-item[1].severity, -item[1].confidence))
    return fill(
        '<p>{description}</p><p class="quiet">Quality {quality}{metrics}; judged by {by}.</p>'
        '<table class="findings"><thead><tr><th scope="col">Degradation</th><th scope="col">Severity</th>'
        '<th scope="col">Confidence</th><th scope="col">Where</th>'
        '<th scope="col">Evidence</th></tr></thead><tbody>{rows}</tbody></table>',
        description=perception.description,
        quality=decimal(perception.quality),
        metrics="".join(f", {key} {decimal(value)}" for key, value in perception.metrics.items()),
        by=perception.by,
        rows=[_finding(name, finding) for name, finding in ranked],
    )


def _finding(name: str, finding: Finding) -> Html:
    return fill(
        '<tr class="{kind}"><th scope="row">{name}</th><td>{severity}</td><td>{bar}</td>'
        '<td>{where}</td><td class="measurements">{measurements}</td></tr>',
        kind="present" if finding.present else "absent",
        name=words(name),
        severity=finding.severity.words,
        bar=bar(finding.confidence, f"{finding.confidence:.0%}"),
        where=_where(finding),
        measurements=measured(finding.measurements),
    )


def _where(finding: Finding) -> Html:
    """A 3x3 map of how bad it is."""
    if not finding.where:
        return fill("–")
    cells = join(
        fill(
            '<rect x="{x}" y="{y}" width="10" height="10" fill-opacity="{level}"/>',
            x=11 * (cell % 3),
            y=11 * (cell // 3),
            level=f"{min(1.0, level / 4):.2f}",
        )
        for cell, level in enumerate(finding.where)
    )
    label = ", ".join(f"{level:.1f}" for level in finding.where)
    return fill(
        '<svg class="where" viewBox="0 0 32 32" role="img" aria-label="{label}">{cells}</svg>',
        label=label,
        cells=cells,
    )
