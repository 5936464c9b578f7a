"""Synthesis of screenshots: windows, bars, buttons, lines of text, and some photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imaging.convert import FloatArray, to_float, to_uint8

WORDS = "File Edit View Help Open Save Cancel Settings Search Name Date Size Account Sign in Welcome back 12:45 100 %"
Colour = tuple[int, int, int]


def screenshot(rng: np.random.Generator, photos: Sequence[FloatArray]) -> FloatArray:
    """(H, W, 3) image of a light or dark desktop with one to three windows."""
    width, height = int(rng.integers(480, 1000)), int(rng.integers(360, 760))
    dark = bool(rng.random() < 0.4)
    picture = Image.new("RGB", (width, height), _shade(rng, not dark))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, 4))):
        left, top = int(rng.integers(0, width // 3)), int(rng.integers(0, height // 3))
        right, bottom = int(rng.integers(width // 2, width)), int(rng.integers(height // 2, height))
        _window(draw, picture, rng, (left, top, right, bottom), dark, photos)
    draw.rectangle((0, height - 28, width, height), fill=_shade(rng, dark))
    for x in range(6, width - 30, 34):
        draw.rounded_rectangle((x, height - 24, x + 20, height - 4), 4, fill=_colour(rng))
    return to_float(np.asarray(picture))


def _window(
    draw: ImageDraw.ImageDraw,
    picture: Image.Image,
    rng: np.random.Generator,
    box: tuple[int, int, int, int],
    dark: bool,
    photos: Sequence[FloatArray],
) -> None:
    left, top, right, bottom = box
    ink: Colour = (230, 230, 230) if dark else (25, 25, 25)
    draw.rectangle(box, fill=_shade(rng, dark), outline=_shade(rng, not dark))
    draw.rectangle((left, top, right, top + 24), fill=_colour(rng))
    words = WORDS.split()
    size = int(rng.integers(11, 18))
    font = ImageFont.load_default(size)
    y = top + 34
    while y < bottom - size:
        chance = rng.random()
        if chance < 0.15:
            draw.rounded_rectangle((left + 10, y, left + 90, y + size + 8), 5, fill=_colour(rng))
            y += size + 14
        elif chance < 0.22 and right - left > 160 and bottom - y > 120:
            photo = photos[int(rng.integers(len(photos)))]
            inset = Image.fromarray(to_uint8(photo)).resize((120, 90))
            picture.paste(inset, (left + 12, y))
            y += 98
        else:
            line = " ".join(str(word) for word in rng.choice(words, int(rng.integers(2, 9))))
            draw.text((left + 12, y), line[: max(1, (right - left) // size)], fill=ink, font=font)
            y += size + int(rng.integers(4, 10))


def _shade(rng: np.random.Generator, dark: bool) -> Colour:
    level = int(rng.integers(15, 60) if dark else rng.integers(215, 256))
    return (level, level, min(255, level + int(rng.integers(0, 12))))


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(30, 230, 3))
    return (red, green, blue)
