"""Sheets of benchmarks.real: each photo without reference beside its result, and what was found and done under it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

from benchmarks.real_results import Results, Row
from benchmarks.real_sets import Case
from imaging.convert import to_numpy, to_uint8
from imaging.image import Image
from imaging.reading import read_image
from imaging.resizing import resize

SIDE = 480
"""Side of a cell in pixels; larger pictures are cropped to the piece that changed most."""
ACROSS, DOWN = 2, 4
GAP = 4
LINE, LINES, LETTERS = 17, 4, 132
FONT_SIZE = 13
STRIDE = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo of a sheet."""

    before: PIL.Image.Image
    after: PIL.Image.Image
    notes: tuple[str, ...]


def save_sheets(cases: Sequence[Case], results: Results, picture: Callable[[Case], Path], folder: Path) -> None:
    """Write ``SET_1.png`` and so on, and `index.md`, which names the photos of each."""
    folder.mkdir(parents=True, exist_ok=True)
    index = ["# Photos without reference\n\nInput, left, and result, right, at 100 % of the result's pixels."]
    for name in dict.fromkeys(case.set_name for case in cases):
        done = [case for case in cases if case.set_name == name and results.has(name, case.name)]
        index.append(f"## {name}")
        for start in range(0, len(done), ACROSS * DOWN):
            some = done[start : start + ACROSS * DOWN]
            entries = [_entry(case, results, picture(case)) for case in some]
            file = folder / f"{name}_{start // (ACROSS * DOWN) + 1}.png"
            _sheet(entries).save(file)
            print(file)
            index += [f"![{file.stem}]({file.name})", *("- " + "; ".join(entry.notes) for entry in entries)]
    (folder / "index.md").write_text("\n\n".join(index) + "\n", "utf-8")


def _entry(case: Case, results: Results, result: Path) -> Entry:
    row = results.get(case.set_name, case.name)
    before, after = read_image(case.file), read_image(result)
    plain = before.with_pixels(resize(before.pixels, after.height, after.width))
    top, left = most_changed(plain, after)
    return Entry(_piece(plain, top, left), _piece(after, top, left), _notes(before, after, row) if row else ())


def _notes(before: Image, after: Image, row: Row) -> tuple[str, ...]:
    size = f"{before.width}x{before.height} -> {after.width}x{after.height}"
    return (f"{row.picture}, {size}, taken for {row.content}", f"found: {row.told_found}", f"done: {row.told_steps}")


def most_changed(before: Image, after: Image, side: int = SIDE) -> tuple[int, int]:
    """Top and left of the piece of `side` pixels in which two pictures of one size differ most.

    A uniform change, such as of brightness, does not count. For equal pictures it is the middle.
    """
    import torch

    change = after.pixels - before.pixels
    change = (change - change.mean(dim=(1, 2), keepdim=True)).square().mean(dim=0)[None]
    height, width = min(side, after.height), min(side, after.width)
    means = torch.nn.functional.avg_pool2d(change, (height, width), STRIDE)[0]
    if not means.any():
        return (after.height - height) // 2, (after.width - width) // 2
    row, column = divmod(int(means.argmax()), means.shape[1])
    return row * STRIDE, column * STRIDE


def _piece(image: Image, top: int, left: int) -> PIL.Image.Image:
    pixels = image.pixels[:, top : top + SIDE, left : left + SIDE].clamp(0, 1)
    return PIL.Image.fromarray(to_uint8(to_numpy(pixels.contiguous())))


def _sheet(entries: Sequence[Entry]) -> PIL.Image.Image:
    """The entries in rows, each row as high as its highest piece."""
    rows = [entries[start : start + ACROSS] for start in range(0, len(entries), ACROSS)]
    heights = [max(entry.after.height for entry in row) + LINES * LINE + 2 * GAP for row in rows]
    across = 2 * (SIDE + GAP) + 2 * GAP
    sheet = PIL.Image.new("RGB", (ACROSS * across, sum(heights)), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = sum(heights[:number])
        for column, entry in enumerate(row):
            left = column * across
            sheet.paste(entry.before, (left, top))
            sheet.paste(entry.after, (left + SIDE + GAP, top))
            lines = [line for note in entry.notes for line in textwrap.wrap(note, LETTERS)][:LINES]
            place = (left + 2, top + max(entry.before.height, entry.after.height) + 2)
            draw.multiline_text(place, "\n".join(lines), fill="black", font_size=FONT_SIZE, spacing=3)
    return sheet
