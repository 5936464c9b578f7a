"""The report of a run: one self-contained HTML page, from templates/report.html.j2."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.report.templates import jpeg_uri, page_templates
from agent.report.text import decimal, duration, size
from agent.report.tree import NodeTree, competing_paths, origin
from agent.state import KEEP_INPUT, Finding, Node, RunState, Verdict
from imaging.atomic import atomic_write
from imaging.disk import writing
from imaging.opening import read_small
from toolbox.starter import PULL_STARTER
from toolbox.tasks import Degradation

PICTURE_BYTES = 2_000_000
"""Maximum JPEG bytes embedded in a page, in the order of the page; base64 adds a third."""


def write_report(state: RunState, folder: Path) -> Path:
    """Write `folder`/report.html for a finished or unfinished run and return its path.

    Pictures come from before.jpg, after.jpg and thumbnails/ in `folder`; missing ones are replaced by a placeholder.
    Raises `OutputError` if the page cannot be written.
    """
    file = folder / "report.html"
    page = report_page(state, folder)
    with writing(f"the report {file}"), atomic_write(file) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return file


def report_page(state: RunState, folder: Path, picture_bytes: int = PICTURE_BYTES) -> str:
    """The HTML of the report, without writing it; `picture_bytes`: maximum JPEG bytes embedded in it."""
    tree, picture = NodeTree(state), _Pictures(folder, picture_bytes).uri
    name = Path(state.source).name or state.source
    template = page_templates().get_template("report.html.j2")
    return template.render(
        styles=("report.css",),
        scripts=("report.js",),
        title=name,
        state=state,
        pull_starter=PULL_STARTER,
        tree=tree,
        origin=origin,
        picture=picture,
        facts=_facts(state, tree),
        sides=_sides(state, tree, name),
        findings=_ranked_findings(state),
        paths=[(node, found) for node in tree.path if (found := competing_paths(node, tree))],
        taken=[_step_view(node, tree) for node in tree.path if node.step],
        rolled_back=[_step_view(node, tree) for node in tree.rolled_back if node.step],
    )


class _Pictures:
    """JPEG files of a run's folder as data URIs, within a budget of bytes per page."""

    def __init__(self, folder: Path, room: int) -> None:
        # Names are looked up among existing files, so an expert's name cannot lead outside the folder; nor can links.
        folders = [folder, *(inner for inner in [folder / "thumbnails"] if not inner.is_symlink())]
        found = [file for inner in folders for file in inner.glob("*.jpg")]
        self._files = {file.relative_to(folder).as_posix(): file for file in found}
        self._room = room

    def uri(self, *names: str) -> str | None:
        """The first of these files that exists, is a JPEG and fits into the budget."""
        for name in names:
            data = b""
            if file := self._files.get(name):
                with suppress(OSError):  # a link, or more than there is room for
                    data = read_small(file, self._room, follow_link=False)
            if data.startswith(b"\xff\xd8"):
                self._room -= len(data)
                return jpeg_uri(data)
        return None


@dataclass(frozen=True, slots=True)
class CandidateView:
    """The card of one expert: its verdict on the whole image, or on crops if it ran only on those."""

    name: str
    verdict: Verdict
    prescreen: Verdict | None
    won: bool
    thumbnails: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepView:
    """One step with its candidates, the winner first."""

    node: Node
    ratio: str
    """Width by height of the step's input."""
    outcome: str
    candidates: list[CandidateView]


def _facts(state: RunState, tree: NodeTree) -> dict[str, object]:
    use = state.model_use.summary
    return {
        "Profile": state.profile.name,
        "Size": _sizes(state, tree),
        "Time": duration(sum(state.seconds.values())) if state.seconds else "not measured yet",
        "Steps": len(tree.path[1:]),
        "Expert runs": state.expert_runs,
        "Reasoner": f"{state.reasoner}: {use}" if use else state.reasoner,
        "Run": state.id,
        "Output": state.output,
    }


def _sizes(state: RunState, tree: NodeTree) -> str:
    if not tree.path:
        return "not read yet"
    before = size(tree.path[0].width, tree.path[0].height)
    return f"{before} → {size(state.plan.final_width, state.plan.final_height)}" if state.plan else before


def _sides(state: RunState, tree: NodeTree, name: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """The two pictures of the slider: label, description, size, and files of which the first that exists is shown.

    The input, and the result or the current image of an unfinished run; nothing before the input is read.
    """
    if not tree.path:
        return []
    first, last = tree.path[0], tree.path[-1]
    before, after = size(first.width, first.height), size(last.width, last.height)
    if state.finished and state.plan:
        after = size(state.plan.final_width, state.plan.final_height)
    label = "After" if state.finished else "So far"
    return [
        ("Before", f"{name} before, {before}", before, ("before.jpg", f"thumbnails/{first.id}.jpg")),
        (label, f"{name} restored, {after}", after, ("after.jpg", f"thumbnails/{last.id}.jpg")),
    ]


def _ranked_findings(state: RunState) -> list[tuple[Degradation, Finding]]:
    """The findings, worst first."""
    found = state.perception.findings.items() if state.perception else ()
    return sorted(found, key=lambda item: (-item[1].severity, -item[1].confidence))


def _step_view(node: Node, tree: NodeTree) -> StepView:
    by_expert: dict[str, dict[str, Verdict]] = {}
    for verdict in node.verdicts:
        by_expert.setdefault(verdict.expert, {})[verdict.stage] = verdict
    candidates = [_candidate(node, stages) for stages in by_expert.values()]
    candidates.sort(key=_place)
    before = tree.parent(node) or node
    ratio = f"{before.width / max(before.height, 1):.5f}"
    return StepView(node, ratio, _outcome(node, by_expert), candidates)


def _place(candidate: CandidateView) -> tuple[bool, bool, bool, float]:
    verdict = candidate.verdict
    return (not candidate.won, verdict.error is not None, verdict.stage == "prescreen", -verdict.score)


def _candidate(node: Node, stages: dict[str, Verdict]) -> CandidateView:
    verdict = stages.get("full") or stages["prescreen"]
    won = verdict.expert == node.expert
    files = [f"thumbnails/{node.id}-{verdict.expert}.jpg"]
    if won:
        files.append(f"thumbnails/{node.id}.jpg")
    if verdict.expert == KEEP_INPUT and node.parent is not None:
        files.append(f"thumbnails/{node.parent}.jpg")
    return CandidateView(_expert(verdict.expert), verdict, stages.get("prescreen"), won, tuple(files))


def _outcome(node: Node, by_expert: dict[str, dict[str, Verdict]]) -> str:
    """The winner and its margin over the second. Prescreen scores are compared only with prescreen scores."""
    chosen = "the input was kept" if node.expert == KEEP_INPUT else f"{node.expert} was chosen"
    winner = by_expert.get(node.expert or "", {})
    margins = []
    for expert, stages in by_expert.items():
        stage = "full" if "full" in stages else "prescreen"
        if expert != node.expert and stage in winner and stages[stage].error is None:
            margins.append((winner[stage].score - stages[stage].score, expert))
    summary = f"{size(node.width, node.height)}; {chosen}"
    if not margins:
        return f"{summary}."
    margin, second = min(margins)
    return f"{summary}, {decimal(margin)} ahead of {_expert(second)}."


def _expert(name: str) -> str:
    return "keep the input" if name == KEEP_INPUT else name
