"""The tables of benchmarks.real, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from benchmarks.real_results import AGENT, Results, Row
from benchmarks.real_sets import Case
from toolbox.tasks import Task

HARM_DB = 0.3
GREAT_HARM_DB = 1.0
BELOW_BICUBIC_DB = 0.1
Line = Mapping[str, object]
"""Cells of a table row by column header."""


NOTE = (
    "PSNR of RGB in dB. Gain: result less input. Inputs smaller than the truth are enlarged bicubically. Tone "
    "adjustments: brightening and dehazing. Experts alone: each on every picture, whatever was found (in brackets: "
    "on how many pairs). No figure here may be used to tune anything."
)


def tables(cases: Sequence[Case], results: Results) -> str:
    """The tables of every set that has results."""
    sets = dict.fromkeys(case.set_name for case in cases if case.kind != "sheet")
    by_set = {name: [case for case in cases if case.set_name == name] for name in sets}
    pairs = {name: some for name, some in by_set.items() if some[0].kind == "pair"}
    clean = {name: some for name, some in by_set.items() if some[0].kind == "clean" and some[0].scale == 1}
    enlarged = {name: some for name, some in by_set.items() if some[0].kind == "clean" and some[0].scale > 1}
    parts = [
        NOTE,
        _section("Pairs", _pair_table(pairs, results)),
        *(_section(f"Experts alone: {name}", _expert_table(some, results)) for name, some in by_set.items()),
        _section("Clean photos, same size", _table([_clean_line(*item, results) for item in clean.items()])),
        _section(
            "Clean photos, reduced and enlarged",
            _table([_enlarged_line(*item, results) for item in enlarged.items()]),
        ),
        *(_section(f"Every picture: {name}", _picture_table(some, results)) for name, some in by_set.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _pair_table(sets: dict[str, list[Case]], results: Results) -> str:
    lines = [_pair_line(name, cases, results) for name, cases in sets.items()]
    if len(sets) > 1:
        lines.append(_pair_line("all", [case for cases in sets.values() for case in cases], results))
    return _table(lines)


def _pair_line(name: str, cases: Sequence[Case], results: Results) -> Line:
    rows, failed = _done(cases, results)
    if not rows:
        return {}
    gains = [row.gain for row in rows]
    best = [gain for case in cases if (gain := _best_gain(case, results)) is not None]
    return {
        "set": name,
        "pairs": len(rows),
        "input": f"{_mean_of(rows, lambda row: row.input_db):.2f}",
        "result": f"{_mean_of(rows, lambda row: row.result_db):.2f}",
        "mean gain": f"{fmean(gains):+.2f}",
        "worst": f"{min(gains):+.2f}",
        f"below -{HARM_DB:g}": _share(gain < -HARM_DB for gain in gains),
        f"below -{GREAT_HARM_DB:g}": _share(gain < -GREAT_HARM_DB for gain in gains),
        "untouched": sum(row.untouched for row in rows),
        "tone adjustments": sum(row.tone_adjustments for row in rows),
        "best expert of each": f"{fmean(best):+.2f} ({len(best)})" if best else "–",
        "best expert or input": f"{fmean(max(gain, 0.0) for gain in best):+.2f} ({len(best)})" if best else "–",
        "failed": failed,
    }


def _expert_table(cases: Sequence[Case], results: Results) -> str:
    """A line for every expert that has run alone, the best first, and one for the best of them on each picture."""
    bests = {case: gain for case in cases if (gain := _best_gain(case, results)) is not None}
    lines = list[tuple[float, Line]]()
    for expert in results.experts(cases[0].set_name):
        rows, failed = _done(cases, results, expert)
        if not rows:
            continue
        leads = sum(
            row.gain == best for case, best in bests.items() if (row := _row_of(case, results, expert)) is not None
        )
        line = _line_of_gains(expert, [row.gain for row in rows])
        rest = {"is the best on": leads, "seconds": f"{fmean(row.seconds for row in rows):.1f}", "failed": failed}
        lines.append((fmean(row.gain for row in rows), {**line, **rest}))
    lines.sort(key=lambda line: -line[0])
    together = [_line_of_gains("best of them on each picture", list(bests.values()))] if len(lines) > 1 else []
    return _table([*(line for _, line in lines), *together])


def _line_of_gains(expert: str, gains: Sequence[float]) -> Line:
    return {
        "expert": expert,
        "pictures": len(gains),
        "mean gain": f"{fmean(gains):+.2f}",
        "best gain": f"{max(gains):+.2f}",
        "worst": f"{min(gains):+.2f}",
    }


def _clean_line(name: str, cases: Sequence[Case], results: Results) -> Line:
    rows, failed = _done(cases, results)
    if not rows:
        return {}
    to_itself = [row.result_db or 0.0 for row in rows]
    return {
        "set": name,
        "photos": len(rows),
        "untouched": _share(row.untouched for row in rows),
        "mean PSNR to itself": f"{fmean(to_itself):.2f}",
        "worst": f"{min(to_itself):.2f}",
        "tone adjustments": sum(row.tone_adjustments for row in rows),
        "failed": failed,
    }


def _enlarged_line(name: str, cases: Sequence[Case], results: Results) -> Line:
    rows, failed = _done(cases, results)
    if not rows:
        return {}
    gains = [row.gain for row in rows]
    expert, alone = _best_single(cases, results)
    behind = [row.gain - alone[row.picture] for row in rows if row.picture in alone]
    return {
        "set": name,
        "photos": len(rows),
        "bicubic": f"{_mean_of(rows, lambda row: row.input_db):.2f}",
        "result": f"{_mean_of(rows, lambda row: row.result_db):.2f}",
        "result - bicubic": f"{fmean(gains):+.2f}",
        "worst": f"{min(gains):+.2f}",
        f"more than {BELOW_BICUBIC_DB:g} below bicubic": sum(gain < -BELOW_BICUBIC_DB for gain in gains),
        "best single expert": expert or "–",
        "result - expert": f"{fmean(behind):+.2f}" if behind else "–",
        "worst against expert": f"{min(behind):+.2f}" if behind else "–",
        "with other steps": sum(any(not _enlarges(step.step) for step in row.steps) for row in rows),
        "tone adjustments": sum(row.tone_adjustments for row in rows),
        "failed": failed,
    }


def _enlarges(step: str) -> bool:
    return step.startswith(Task.SUPER_RESOLUTION.value)


def _best_single(cases: Sequence[Case], results: Results) -> tuple[str, dict[str, float]]:
    """The expert of the highest mean gain on all pictures that the agent has restored, and its gain on each."""
    restored, _ = _done(cases, results)
    gains = dict[str, dict[str, float]]()
    for expert in results.experts(cases[0].set_name):
        rows, _ = _done(cases, results, expert)
        if len(rows) >= len(restored):
            gains[expert] = {row.picture: row.gain for row in rows}
    best = max(gains, key=lambda expert: fmean(gains[expert].values()), default="")
    return best, gains.get(best, {})


def _picture_table(cases: Sequence[Case], results: Results) -> str:
    """A line for every picture, the lowest gain first, then those that failed."""
    lines = list[tuple[bool, float, Line]]()
    for case in cases:
        row = results.get(case.set_name, case.name)
        if row is not None:
            lines.append((bool(row.error), row.gain, _picture_line(case, row, results)))
    return _table([line for _, _, line in sorted(lines, key=lambda line: line[:2])])


def _picture_line(case: Case, row: Row, results: Results) -> Line:
    alone = [other for expert in results.experts(case.set_name) if (other := _row_of(case, results, expert))]
    best = max(alone, key=lambda other: other.gain, default=None)
    return {
        "picture": row.picture,
        "input": f"{row.input_db or 0:.2f}",
        "result": f"{row.result_db or 0:.2f}",
        "gain": f"{row.gain:+.2f}",
        "best expert": f"{best.by} {best.gain:+.2f}" if best else "–",
        "found": row.told_found,
        "done": row.told_steps,
        "taken for": row.content,
    }


def _done(cases: Sequence[Case], results: Results, by: str = AGENT) -> tuple[list[Row], int]:
    """The rows with a result, and how many have failed."""
    rows = [row for case in cases if (row := results.get(case.set_name, case.name, by)) is not None]
    return [row for row in rows if not row.error], sum(bool(row.error) for row in rows)


def _row_of(case: Case, results: Results, by: str) -> Row | None:
    """The row of one expert on a picture; None if it has not run or has failed."""
    row = results.get(case.set_name, case.name, by)
    return None if row is None or row.error else row


def _best_gain(case: Case, results: Results) -> float | None:
    """The gain of the best single expert on a picture; None if none has run."""
    rows = [_row_of(case, results, expert) for expert in results.experts(case.set_name)]
    return max((row.gain for row in rows if row is not None), default=None)


def _mean_of(rows: Sequence[Row], value: Callable[[Row], float | None]) -> float:
    return fmean(value(row) or 0.0 for row in rows)


def _share(hits: Iterable[bool]) -> str:
    listed = list(hits)
    return f"{sum(listed)} of {len(listed)} ({fmean(listed):.0%})"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _table(lines: Sequence[Line]) -> str:
    """Markdown of the lines that have cells, with the headers of the first one; empty if there are none."""
    filled = [line for line in lines if line]
    if not filled:
        return ""
    heads = tuple(filled[0])
    every = [heads, ("---",) * len(heads), *(tuple(line.get(head, "") for head in heads) for line in filled)]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |" for cells in every)
