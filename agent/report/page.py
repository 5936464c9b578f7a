"""The report of a run: one self-contained page. The page's frame, style and script are report.html beside this."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from agent.report.findings import findings, words
from agent.report.markup import NO_PICTURE, Html, bar, bullets, decimal, duration, fill, join, measured, size
from agent.state import KEEP_INPUT, Node, Plan, RunState, Verdict
from imaging.atomic import atomic_write
from imaging.errors import OutputError

PICTURE_BYTES = 2_000_000
"""JPEG bytes that a page holds at most; base64 makes 4/3 of it. The pictures that matter most come first."""


def write_report(state: RunState, folder: Path) -> Path:
    """Write `folder`/report.html, of a finished run or of one that still goes on; gives its path.

    Pictures come from before.jpg, after.jpg and thumbnails/ in `folder`; a placeholder stands for what is missing.
    Raises `OutputError` where the page cannot be written.
    """
    file = folder / "report.html"
    page = report_page(state, folder)
    try:
        with atomic_write(file) as temporary:
            temporary.write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise OutputError(f"the report {file} cannot be written: {error.strerror}", "free its folder") from error
    return file


def report_page(state: RunState, folder: Path) -> str:
    """The same page, without writing it."""
    return _page(state, _Pictures(folder))


class _Pictures:
    """JPEG files of a run's folder as data URIs, as long as the page has room."""

    def __init__(self, folder: Path) -> None:
        # A name is looked up among what is there: an expert's odd name leads nowhere else.
        found = [*folder.glob("*.jpg"), *folder.glob("thumbnails/*.jpg")]
        self._files = {file.relative_to(folder).as_posix(): file for file in found}
        self._room = PICTURE_BYTES

    def uri(self, *names: str) -> str | None:
        """The first of these files that is there and fits."""
        for name in names:
            file = self._files.get(name)
            if file is None or file.stat().st_size > self._room:
                continue
            data = file.read_bytes()
            if data.startswith(b"\xff\xd8"):
                self._room -= len(data)
                return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
        return None


class _Tree:
    """The nodes of a run: which of them led to where it stands, and what hangs below each."""

    def __init__(self, state: RunState) -> None:
        self.by_id = {node.id: node for node in state.nodes}
        self.current = self.by_id.get(state.current)
        self.path: list[Node] = []
        node = self.current
        while node is not None and node not in self.path:
            self.path.insert(0, node)
            node = self.parent(node)
        self.taken = {node.id for node in self.path}
        self.rolled_back = [node for node in state.nodes if node.id not in self.taken]

    def parent(self, node: Node) -> Node | None:
        return None if node.parent is None else self.by_id.get(node.parent)

    def children(self, node: Node) -> list[Node]:
        """Those on the path taken first."""
        found = [child for child in self.by_id.values() if child.parent == node.id and child.id != node.id]
        return sorted(found, key=lambda child: child.id not in self.taken)


def _page(state: RunState, pictures: _Pictures) -> str:
    template = (resources.files("agent") / "report" / "report.html").read_text("utf-8")
    script = template.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    tree = _Tree(state)
    name = Path(state.source).name or state.source
    parts = {
        "script_hash": digest,
        "title": escape(name),
        "facts": _facts(state, tree),
        "status": Html() if state.finished else _status(tree),
        "compare": _compare(state, tree, name, pictures),
        "warnings": _warnings(state),
        "findings": findings(state),
        "plan": _plan(state.plan),
        "path": _path(tree, pictures),
        "steps": _steps(tree, pictures),
        "timings": _timings(state.seconds),
        "data": escape(state.model_dump_json(indent=2)),
    }
    return Template(template).substitute(parts)


def _facts(state: RunState, tree: _Tree) -> Html:
    facts = {
        "Profile": state.profile.name,
        "Size": _sizes(state, tree),
        "Time": duration(sum(state.seconds.values())) if state.seconds else "not measured yet",
        "Steps": len(tree.path[1:]),
        "Expert runs": state.expert_runs,
        "Reasoner": f"{state.reasoner}: {use}" if (use := state.model_use.summary) else state.reasoner,
        "Run": state.id,
        "Output": state.output,
    }
    return join(fill("<div><dt>{key}</dt><dd>{value}</dd></div>", key=key, value=facts[key]) for key in facts)


def _sizes(state: RunState, tree: _Tree) -> str:
    if not tree.path:
        return "not read yet"
    before = size(tree.path[0].width, tree.path[0].height)
    return f"{before} → {size(state.plan.final_width, state.plan.final_height)}" if state.plan else before


def _status(tree: _Tree) -> Html:
    remaining_steps = tree.current.remaining_steps if tree.current else ()
    left = f" Still to be done: {', '.join(map(words, remaining_steps))}." if remaining_steps else ""
    return fill('<p class="status" role="status">This run is not finished.{left}</p>', left=left)


def _warnings(state: RunState) -> Html:
    if not state.warnings:
        return Html()
    return fill(
        '<section aria-labelledby="warnings"><h2 id="warnings">Warnings</h2><div>{list}</div></section>',
        list=bullets(state.warnings),
    )


def _compare(state: RunState, tree: _Tree, name: str, pictures: _Pictures) -> Html:
    """The slider. Both pictures stand side by side where no script runs, and in print."""
    if not tree.path:
        return fill('<p class="empty">The image has not been read yet.</p>')
    first, last = tree.path[0], tree.path[-1]
    before = pictures.uri("before.jpg", f"thumbnails/{first.id}.jpg")
    after = pictures.uri("after.jpg", f"thumbnails/{last.id}.jpg")
    size_after = (last.width, last.height)
    if state.finished and state.plan:
        size_after = (state.plan.final_width, state.plan.final_height)
    return fill(
        '<div class="compare" style="--ratio:{ratio}">{before}{after}'
        '<input type="range" min="0" max="100" step="any" value="50" hidden'
        ' aria-label="How much of the width shows the picture before"></div>',
        ratio=f"{last.width / max(last.height, 1):.5f}",
        before=_figure(before, "Before", f"{name} before", size(first.width, first.height)),
        after=_figure(after, "After" if state.finished else "So far", f"{name} restored", size(*size_after)),
    )


def _figure(uri: str | None, label: str, alt: str, pixels: str) -> Html:
    picture = fill('<img src="{uri}" alt="{alt}, {pixels}">', uri=uri, alt=alt, pixels=pixels) if uri else NO_PICTURE
    return fill(
        "<figure>{picture}<figcaption>{label} <span>{pixels}</span></figcaption></figure>",
        picture=picture,
        label=label,
        pixels=pixels,
    )


def _plan(plan: Plan | None) -> Html:
    if plan is None:
        return fill('<p class="empty">There is no plan yet.</p>')
    steps = join(fill("<li>{step}</li>", step=words(step)) for step in plan.steps)
    return fill(
        '{steps}{reasons}<p class="quiet">Made by {by}; final size {size}.</p>',
        steps=fill('<ol class="sequence">{steps}</ol>', steps=steps) if steps else fill("<p>Nothing to do.</p>"),
        reasons=bullets(plan.reasons),
        by=plan.by,
        size=size(plan.final_width, plan.final_height),
    )


def _path(tree: _Tree, pictures: _Pictures) -> Html:
    roots = [node for node in tree.by_id.values() if node.parent is None]
    if not roots:
        return fill('<p class="empty">No image yet.</p>')
    return join(_chain(root, tree, pictures) for root in roots)


def _chain(node: Node, tree: _Tree, pictures: _Pictures) -> Html:
    """A node and what follows it as one flat list; only the branches beside it are nested."""
    rolled_back = node.id not in tree.taken
    items: list[Html] = []
    following: Node | None = node
    while following is not None:
        children = tree.children(following)
        goes_on = bool(children) and (rolled_back or children[0].id in tree.taken)
        branches = children[1:] if goes_on else children
        items.append(_node(following, tree, pictures, [_chain(child, tree, pictures) for child in branches]))
        following = children[0] if goes_on else None
    label = "Rolled back" if rolled_back else "Images on the path taken"
    kind = "nodes rolled-back" if rolled_back else "nodes"
    return fill('<ol class="{kind}" aria-label="{label}">{items}</ol>', kind=kind, label=label, items=items)


def _node(node: Node, tree: _Tree, pictures: _Pictures, beside: Sequence[Html]) -> Html:
    uri = pictures.uri(f"thumbnails/{node.id}.jpg")
    title = f"Image {node.id}: {_by(node)}"
    text = fill('<a href="#step-{id}">{by}</a>', id=node.id, by=_by(node)) if node.step else _by(node)
    score = f", score {decimal(node.score)}" if node.score else ""
    notes = {
        "rolled back": node.id not in tree.taken,
        "the step failed here": node.failed,
        f"failed as the next step from here: {', '.join(map(words, node.failed_first_steps))}": bool(
            node.failed_first_steps
        ),
    }
    note = "; ".join(text for text, holds in notes.items() if holds)
    return fill(
        "<li{here}>{picture}<div><p>{text}</p>"
        '<p class="quiet">{size}{score}</p><p class="note">{note}</p></div>{beside}</li>',
        here=fill(' aria-current="step"') if node is tree.current else "",
        picture=fill('<img id="node-{id}" src="{uri}" alt="{alt}">', id=node.id, uri=uri, alt=title)
        if uri
        else NO_PICTURE,
        text=text,
        size=size(node.width, node.height),
        score=score,
        note=note,
        beside=beside,
    )


def _steps(tree: _Tree, pictures: _Pictures) -> Html:
    taken = [_step(node, tree, pictures) for node in tree.path if node.step]
    undone = [_step(node, tree, pictures) for node in tree.rolled_back if node.step]
    if not taken and not undone:
        return fill('<p class="empty">No step has been finished yet.</p>')
    if undone:
        taken.append(fill('<h3 class="part">Rolled back</h3><div class="rolled-back">{steps}</div>', steps=undone))
    return join(taken)


def _step(node: Node, tree: _Tree, pictures: _Pictures) -> Html:
    by_expert: dict[str, dict[str, Verdict]] = {}
    for verdict in node.verdicts:
        by_expert.setdefault(verdict.expert, {})[verdict.stage] = verdict
    shown = [stages.get("full") or stages["prescreen"] for stages in by_expert.values()]
    shown.sort(
        key=lambda one: (one.expert != node.expert, one.error is not None, one.stage == "prescreen", -one.score)
    )
    return fill(
        '<article id="step-{id}" aria-labelledby="step-{id}-title" data-before="node-{parent}"'
        ' data-task="{task}">'
        '<h3 id="step-{id}-title">{step}</h3><p class="quiet">{outcome}</p>'
        '<ul class="cards">{cards}</ul></article>',
        id=node.id,
        parent=node.parent,
        task=node.step.task.value if node.step else "",
        step=words(node.step or ""),
        outcome=_outcome(node, by_expert),
        cards=[_card(verdict, by_expert[verdict.expert], node, tree, pictures) for verdict in shown],
    )


def _outcome(node: Node, by_expert: dict[str, dict[str, Verdict]]) -> str:
    """Who was chosen, and the least by which it leads. Prescreen scores are only compared with prescreen scores."""
    chosen = "the input was kept" if node.expert == KEEP_INPUT else f"{node.expert} was chosen"
    winner = by_expert.get(node.expert or "", {})
    leads = []
    for expert, stages in by_expert.items():
        stage = "full" if "full" in stages else "prescreen"
        if expert != node.expert and stage in winner and stages[stage].error is None:
            leads.append((winner[stage].score - stages[stage].score, expert))
    summary = f"{size(node.width, node.height)}; {chosen}"
    if not leads:
        return f"{summary}."
    lead, second = min(leads)
    return f"{summary}, {decimal(lead)} ahead of {_expert(second)}."


def _card(verdict: Verdict, stages: dict[str, Verdict], node: Node, tree: _Tree, pictures: _Pictures) -> Html:
    won = verdict.expert == node.expert
    files = [f"thumbnails/{node.id}-{verdict.expert}.jpg"]
    if won:
        files.append(f"thumbnails/{node.id}.jpg")
    if verdict.expert == KEEP_INPUT and node.parent is not None:
        files.append(f"thumbnails/{node.parent}.jpg")
    uri = pictures.uri(*files)
    name, step = _expert(verdict.expert), words(node.step or "")
    before = tree.parent(node) or node
    shot = fill(
        '<button type="button" class="shot" aria-haspopup="dialog" style="--ratio:{ratio}"'
        ' aria-label="Compare {name} with the input of {step}"><img src="{uri}" alt=""></button>',
        ratio=f"{before.width / max(before.height, 1):.5f}",
        name=name,
        step=step,
        uri=uri,
    )
    return fill(
        '<li class="card {kind}" data-expert="{expert}">{shot}<h4>{name}{mark}</h4>{body}</li>',
        kind="won" if won else "lost",
        expert=verdict.expert,
        shot=shot if uri else NO_PICTURE,
        name=name,
        mark=fill(" <span>chosen</span>") if won else "",
        body=fill('<p class="error">{error}</p>', error=verdict.error)
        if verdict.error is not None
        else _verdict(verdict, stages),
    )


def _verdict(verdict: Verdict, stages: dict[str, Verdict]) -> Html:
    parts = {"quality": verdict.quality, "consistency": verdict.consistency, "removal": verdict.removal}
    how = "on crops only" if verdict.stage == "prescreen" else "whole image"
    if verdict.stage == "full" and "prescreen" in stages:
        how += f", prescreened at {decimal(stages['prescreen'].score)}"
    return fill(
        '<p class="score"><span>{stage}</span> {score}</p><dl>{parts}</dl>'
        '<p class="quiet">{seconds}, {how}</p><p class="quiet">{metrics}</p>',
        stage="prescreen score" if verdict.stage == "prescreen" else "score",
        score=decimal(verdict.score),
        parts=[
            fill("<div><dt>{name}</dt><dd>{bar}</dd></div>", name=name, bar=bar(value, decimal(value)))
            for name, value in parts.items()
        ],
        seconds=duration(verdict.seconds),
        how=how,
        metrics=measured(verdict.metrics),
    )


def _timings(seconds: dict[str, float]) -> Html:
    total = sum(seconds.values())
    if not total > 0:
        return fill('<p class="empty">Nothing has been timed yet.</p>')
    rows = [
        fill(
            '<tr><th scope="row">{name}</th><td>{bar}</td><td class="number">{share}</td></tr>',
            name=words(name),
            bar=bar(value / total, duration(value)),
            share=f"{value / total:.0%}",
        )
        for name, value in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    return fill(
        '<table class="timings"><thead><tr><th scope="col">Part</th><th scope="col">Time</th>'
        '<th scope="col" class="number">Share</th></tr></thead><tbody>{rows}</tbody></table>',
        rows=rows,
    )


def _expert(name: str) -> str:
    return "keep the input" if name == KEEP_INPUT else name


def _by(node: Node) -> str:
    if node.step is None:
        return "Input"
    return f"{words(node.step)}{', input kept' if node.expert == KEEP_INPUT else f' by {node.expert}'}"
