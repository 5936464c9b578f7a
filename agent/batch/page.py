"""The summary of a batch: self-contained pages, the first with the figures and the failures, all with thumbnails."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TextIO

from agent.batch.engines.work import Figures
from agent.batch.folder import BatchFolder, Settings
from agent.batch.record import Entry
from agent.report.findings import words
from agent.report.markup import NO_PICTURE, Html, decimal, duration, fill, join, size
from agent.run import StepTaken
from agent.state import KEEP_INPUT
from imaging.atomic import atomic_write
from imaging.errors import OutputError

PER_PAGE = 100
MOST_FAILURES = 200
MOST_ROWS = 20
MOST_WARNINGS = 1000
"""That are told apart."""


@dataclass(slots=True)
class _Sums:
    """What is said of all pictures together."""

    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    gain: float = 0.0
    gained: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    failures: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        if entry.figures is None:
            self.failed += 1
            if len(self.failures) < MOST_FAILURES:
                self.failures.append(entry)
            return
        self.done += 1
        self.seconds += entry.figures.seconds
        self.gain += entry.figures.gain
        self.gained += entry.figures.gain > 0
        self.steps.update(f"{words(step.step)} by {step.expert}" for step in entry.figures.steps)
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.update(entry.figures.warnings)

    def counted(self, entries: Iterable[Entry], failures: TextIO) -> Iterator[Entry]:
        """The entries, added up as they pass; those that failed are written to a file of their own."""
        for entry in entries:
            self.add(entry)
            if entry.status == "failed":
                failures.write(json.dumps({"source": entry.source, "reason": entry.reason}) + "\n")
            yield entry


def write_pages(folder: BatchFolder, settings: Settings, entries: Iterable[Entry]) -> None:
    """Write summary.html, summary-2.html, ... and failures.jsonl. Two pages are in memory at most.

    Raises `OutputError` where they cannot be written.
    """
    sums = _Sums()
    try:
        with (folder.path / "failures.jsonl").open("w", encoding="utf-8") as failures:
            pages = _pages(folder, sums.counted(entries, failures))
            first = next(pages, Html())
            number, page = 1, next(pages, None)
            while page is not None:
                number, following = number + 1, next(pages, None)
                _write(folder, settings, number, page, is_last=following is None)
                page = following
        _write(folder, settings, 1, first, sums, is_last=number == 1)
        _remove_after(folder, number)
    except OSError as error:
        raise OutputError(
            f"the summary in {folder.path} cannot be written: {error.strerror}", "free its disk"
        ) from error


def _pages(folder: BatchFolder, entries: Iterable[Entry]) -> Iterator[Html]:
    """So many pictures at a time, of those that have thumbnails."""
    shown = list[Html]()
    for entry in entries:
        thumbnails = folder.thumbnails(entry.source)
        if entry.figures is None or not thumbnails[0].exists():
            continue
        shown.append(_picture(entry, entry.figures, thumbnails))
        if len(shown) == PER_PAGE:
            yield join(shown)
            shown.clear()
    if shown:
        yield join(shown)


def _write(
    folder: BatchFolder, settings: Settings, number: int, shown: Html, sums: _Sums | None = None, *, is_last: bool
) -> None:
    template = (resources.files("agent") / "batch" / "batch.html").read_text("utf-8")
    none = fill('<p class="quiet">None is shown.</p>')
    parts = {
        "kind": "Summary of a batch" if sums else f"Summary of a batch, page {number}",
        "title": escape(Path(settings.source).name or settings.source),
        "facts": _facts(sums, settings, folder) if sums else Html(),
        "overview": _overview(sums) if sums else Html(),
        "pictures": fill('<ul class="pictures">{shown}</ul>', shown=shown) if shown else none,
        "links": _links(number, is_last=is_last),
    }
    page = Template(template).substitute(parts)
    with atomic_write(folder.path / _page_name(number)) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))


def _facts(sums: _Sums, settings: Settings, folder: BatchFolder) -> Html:
    done = max(sums.done, 1)
    facts = {
        "Profile": settings.profile.name,
        "Pictures": sums.done + sums.failed,
        "Restored": sums.done,
        "Failed": sums.failed,
        "Seconds a picture": duration(sums.seconds / done),
        "Workers' time": duration(sums.seconds),
        "Gain of score, mean": decimal(sums.gain / done),
        "Better than before": f"{sums.gained / done:.0%}",
        "Results": folder.results,
    }
    listed = join(fill("<div><dt>{key}</dt><dd>{value}</dd></div>", key=key, value=facts[key]) for key in facts)
    return fill(
        '<dl class="facts">{listed}</dl><p class="quiet">Every picture with all its figures is in record.jsonl '
        "beside this page. Failures are in failures.jsonl too. Of very many pictures some are shown, "
        "drawn by lot.</p>",
        listed=listed,
    )


def _overview(sums: _Sums) -> Html:
    return join(
        (
            _table("Failed", ("Picture", "Why"), [(one.source, one.reason) for one in sums.failures], sums.failed),
            _table("Steps", ("What was done", "Pictures"), sums.steps.most_common(MOST_ROWS), len(sums.steps)),
            _table("Warnings", ("Warning", "Pictures"), sums.warnings.most_common(MOST_ROWS), len(sums.warnings)),
        )
    )


def _table(title: str, heads: tuple[str, str], rows: Sequence[tuple[str, object]], all_rows: int) -> Html:
    """Nothing where there are no rows."""
    if not rows:
        return Html()
    left = all_rows - len(rows)
    return fill(
        '<section class="{name}" aria-labelledby="{name}"><h2 id="{name}">{title}</h2><table>'
        '<thead><tr><th scope="col">{first}</th><th scope="col">{second}</th></tr></thead>'
        "<tbody>{rows}</tbody></table>{more}</section>",
        name=title.lower(),
        title=title,
        first=heads[0],
        second=heads[1],
        rows=[fill("<tr><td>{one}</td><td>{other}</td></tr>", one=one, other=other) for one, other in rows],
        more=fill('<p class="quiet">And {left} more.</p>', left=left) if left else Html(),
    )


def _picture(entry: Entry, figures: Figures, thumbnails: tuple[Path, Path]) -> Html:
    return fill(
        "<li><figure>{before}{after}</figure><h3>{name}</h3><p>{steps}</p>"
        '<p class="quiet">plan: {plan}; gain {gain}; {seconds}; {size}</p></li>',
        before=_image(thumbnails[0], "before"),
        after=_image(thumbnails[1], "after"),
        name=entry.source,
        steps=", ".join(_step_text(step) for step in figures.steps) or "nothing was done",
        plan=", ".join(map(words, figures.plan)) or "nothing to do",
        gain=decimal(figures.gain),
        seconds=duration(figures.seconds),
        size=size(figures.width, figures.height),
    )


def _step_text(step: StepTaken) -> str:
    return f"{words(step.step)}: {'input kept' if step.expert == KEEP_INPUT else step.expert}"


def _image(file: Path, when: str) -> Html:
    try:
        data = base64.b64encode(file.read_bytes()).decode("ascii")
    except OSError:
        return NO_PICTURE
    return fill('<img alt="{when}" src="data:image/jpeg;base64,{data}">', when=when, data=data)


def _links(number: int, *, is_last: bool) -> Html:
    wanted = {}
    if number > 1:
        wanted["First page"], wanted["Previous page"] = _page_name(1), _page_name(number - 1)
    if not is_last:
        wanted["Next page"] = _page_name(number + 1)
    return join(fill('<li><a href="{file}">{text}</a></li>', file=file, text=text) for text, file in wanted.items())


def _page_name(number: int) -> str:
    return "summary.html" if number == 1 else f"summary-{number}.html"


def _remove_after(folder: BatchFolder, last: int) -> None:
    """Pages of an earlier call that had more of them."""
    number = last + 1
    while (file := folder.path / _page_name(number)).exists():
        file.unlink()
        number += 1
