"""Pages of text, screens and line art: the kind that is found, and the profile that is suggested for it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import ImageDraw, ImageFont

from agent.perception import measure, perceive, suggested_profile
from agent.planning import plan
from agent.run import restore_file
from agent.state import Perception
from imaging.convert import from_numpy, to_float, to_numpy
from imaging.image import Image
from imaging.preparing import prepared
from imaging.reading import read_image
from iqa.content import ContentKind
from profiles.loading import load_profile
from toolbox.catalogue import default_catalogue
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

TEXT = "the quick brown fox jumps over a lazy dog while engineers restore old pages of text and drawings"
WORDS = TEXT.split()


def page(size: int, paper: int, ink: int, width: int = 500, height: int = 640) -> PIL.Image.Image:
    """Lines of words on paper."""
    rng, picture = np.random.default_rng(size), PIL.Image.new("RGB", (width, height), (paper,) * 3)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    for top in range(size, height - 2 * size, size * 3 // 2):
        line = " ".join(rng.choice(WORDS, max(2, width // (size * 3))))
        draw.text((size, top), line, fill=(ink,) * 3, font=font)
    return picture


def screen() -> PIL.Image.Image:
    """A window with a list."""
    rng, picture = np.random.default_rng(0), PIL.Image.new("RGB", (640, 400), (240, 240, 245))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    draw.rectangle((0, 0, 640, 28), fill=(50, 60, 80))
    draw.text((10, 6), "File  Edit  View  Help", fill=(230, 230, 230), font=font)
    for top in range(44, 380, 38):
        draw.rounded_rectangle((16, top, 620, top + 30), 6, fill=(255, 255, 255), outline=(200, 200, 210))
        draw.text((28, top + 6), " ".join(rng.choice(WORDS, 8)), fill=(30, 30, 30), font=font)
        draw.ellipse((590, top + 6, 608, top + 24), fill=tuple(int(level) for level in rng.integers(0, 255, 3)))
    return picture


def stored(picture: PIL.Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


PAGES = {
    "page": stored(page(14, 255, 20)),
    "large letters": stored(page(24, 250, 0)),
    "grey paper": stored(page(12, 225, 60)),
    "dark page": stored(page(16, 25, 220)),
    "JPEG": stored(page(14, 245, 30), "JPEG"),
    "screen": stored(screen()),
}


def measured(data: bytes) -> Perception:
    return measure(prepared(read_image(data)))


@pytest.mark.parametrize("name", PAGES)
def test_pages_and_screens_are_found_and_the_document_profile_suggested(name: str) -> None:
    found = measured(PAGES[name])
    assert found.content in (ContentKind.DOCUMENT, ContentKind.SCREENSHOT)
    assert suggested_profile(found) == "document"
    if name != "JPEG":
        steps = plan(found, load_profile("document"), ExpertPool().catalogue).steps
        assert {step.task for step in steps} <= {Task.SUPER_RESOLUTION}


def test_an_enlarged_page_has_no_ghost_lines_and_no_halos(tmp_path: Path) -> None:
    """Paper a little darker than white shows halos, which white paper hides."""
    small = page(16, 235, 30, 200, 120)
    small.save(tmp_path / "page.png")
    profile = load_profile("document").model_copy(update={"require_sr_size": 800})
    restore_file(tmp_path / "page.png", tmp_path / "out.png", profile, runs=tmp_path / "runs")
    result = to_numpy(read_image(tmp_path / "out.png").pixels)
    assert result.shape == (480, 800, 3)
    assert float(result.max()) < 235 / 255 + 3 / 255  # no halos
    paper = to_float(np.asarray(small)).min(axis=2) == np.float32(235 / 255)
    away = np.lib.stride_tricks.sliding_window_view(np.pad(paper, 2, mode="edge"), (5, 5)).all(axis=(2, 3))
    flat = away.repeat(4, axis=0).repeat(4, axis=1)
    assert float(np.abs(result[flat] - 235 / 255).max()) < 12 / 255  # no ghost lines
    letters = to_float(np.asarray(small)).min(axis=2) < 0.2
    assert float(result[letters.repeat(4, axis=0).repeat(4, axis=1)].mean()) < 0.3


def slide(colour: tuple[int, int, int], size: int, side: int, reduced: int) -> Image:
    """Light lettering on a dark slide, drawn `reduced` times as large."""
    picture = PIL.Image.new("RGB", (side * reduced,) * 2, colour)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size * reduced)
    for line, top in enumerate(range(8, side * reduced - 30, 2 * size * reduced)):
        text = "The little fall of ill tilt if it fits"[line:]
        draw.text((8 + 20 * (line % 2), top), text, fill=[(255, 255, 255), (255, 230, 60)][line % 2], font=font)
    return Image(from_numpy(to_float(np.array(picture.resize((side, side), PIL.Image.Resampling.BICUBIC)))))


@pytest.mark.parametrize("profile", ["default", "document"])
@pytest.mark.parametrize(
    ("colour", "size", "side", "reduced"),
    [
        ((20, 40, 120), 18, 240, 1),
        ((20, 40, 120), 28, 160, 2),
        ((0, 0, 0), 28, 160, 1),
        ((90, 20, 20), 18, 240, 2),
        ((90, 20, 20), 14, 160, 2),
        ((10, 80, 40), 28, 240, 1),
    ],
)
def test_the_strokes_of_light_letters_are_not_taken_for_rain(
    colour: tuple[int, int, int], size: int, side: int, reduced: int, profile: str
) -> None:
    perception = perceive(slide(colour, size, side, reduced))
    steps = plan(perception, load_profile(profile), default_catalogue()).steps
    assert Task.DERAINING not in [step.task for step in steps]
