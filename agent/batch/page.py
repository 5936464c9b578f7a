"""The summary of a batch: self-contained pages with thumbnails; the first also has the totals and the failures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeAlias

from agent.batch.folder import BatchFolder, Settings
from agent.batch.record import Entry
from agent.report.templates import jpeg_uri, page_templates
from agent.report.text import decimal, duration, words
from agent.state import KEEP_INPUT
from imaging.atomic import atomic_write
from imaging.disk import writing
from imaging.opening import read_small

PER_PAGE = 100
MOST_FAILURES = 200
MOST_ROWS = 20
MAX_THUMBNAIL_BYTES = 1 << 20
MOST_WARNINGS = 1000
"""Maximum number of different warnings that are counted."""
Shown: TypeAlias = tuple[Entry, list[str | None]]
"""A picture, and its thumbnails before and after as data URIs."""


@dataclass(slots=True)
class Totals:
    """Totals over all pictures."""

    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    gain: float = 0.0
    gained: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    """The first pictures that failed, with their reasons."""

    def add(self, entry: Entry) -> None:
        """Count one picture."""
        if entry.figures is None:
            self.failed += 1
            if len(self.failures) < MOST_FAILURES:
                self.failures.append((entry.source, entry.reason))
            return
        self.done += 1
        self.seconds += entry.figures.seconds
        self.gain += entry.figures.gain
        self.gained += entry.figures.gain > 0
        self.steps.update(f"{words(step.step)} by {step.expert}" for step in entry.figures.steps)
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.update(entry.figures.warnings)

    def counted(self, entries: Iterable[Entry], failures: TextIO) -> Iterator[Entry]:
        """Yield the entries, counting each; failed ones are also written to `failures`."""
        for entry in entries:
            self.add(entry)
            if entry.status == "failed":
                failures.write(json.dumps({"source": entry.source, "reason": entry.reason}) + "\n")
            yield entry


def write_pages(folder: BatchFolder, settings: Settings, entries: Iterable[Entry]) -> None:
    """Write summary.html, summary-2.html, ... and failures.jsonl. Holds two pages in memory at most.

    Raises `OutputError` if they cannot be written.
    """
    totals = Totals()
    with writing(f"the summary in {folder.path}"):
        with atomic_write(folder.path / "failures.jsonl") as file, file.open("w", encoding="utf-8") as failures:
            pages = _pages(folder, totals.counted(entries, failures))
            first = next(pages, ())
            number, page = 1, next(pages, None)
            while page is not None:
                number, following = number + 1, next(pages, None)
                _write(folder, settings, number, page, is_last=following is None)
                page = following
        _write(folder, settings, 1, first, totals, is_last=number == 1)
        while (surplus := folder.path / _page_name(number + 1)).exists():  # of an earlier call
            surplus.unlink()
            number += 1


def _pages(folder: BatchFolder, entries: Iterable[Entry]) -> Iterator[tuple[Shown, ...]]:
    """The pictures that have thumbnails, page by page."""
    shown = (
        (entry, [_uri(file) for file in folder.thumbnails(entry.source)])
        for entry in entries
        if entry.figures is not None and folder.thumbnails(entry.source)[0].exists()
    )
    while page := tuple(islice(shown, PER_PAGE)):
        yield page


def _write(
    folder: BatchFolder,
    settings: Settings,
    number: int,
    pictures: Iterable[Shown],
    totals: Totals | None = None,
    *,
    is_last: bool,
) -> None:
    template = page_templates("agent.batch").get_template("batch.html.j2")
    page = template.render(
        styles=("batch.css",),
        scripts=(),
        title=Path(settings.source).name or settings.source,
        number=number,
        totals=totals,
        facts=_facts(totals, settings, folder) if totals else {},
        rows=MOST_ROWS,
        kept=KEEP_INPUT,
        pictures=pictures,
        links=_links(number, is_last=is_last),
    )
    with atomic_write(folder.path / _page_name(number)) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))


def _facts(totals: Totals, settings: Settings, folder: BatchFolder) -> dict[str, object]:
    done = max(totals.done, 1)
    return {
        "Profile": settings.profile.name,
        "Pictures": totals.done + totals.failed,
        "Restored": totals.done,
        "Failed": totals.failed,
        "Time per picture": duration(totals.seconds / done),
        "Worker time": duration(totals.seconds),
        "Mean gain of score": decimal(totals.gain / done),
        "Better than before": f"{totals.gained / done:.0%}",
        "Results": folder.results,
    }


def _uri(file: Path) -> str | None:
    try:
        return jpeg_uri(read_small(file, MAX_THUMBNAIL_BYTES, follow_link=False))
    except OSError:
        return None


def _links(number: int, *, is_last: bool) -> dict[str, str]:
    links: dict[str, str] = {}
    if number > 1:
        links |= {"First page": _page_name(1), "Previous page": _page_name(number - 1)}
    if not is_last:
        links["Next page"] = _page_name(number + 1)
    return links


def _page_name(number: int) -> str:
    return "summary.html" if number == 1 else f"summary-{number}.html"
