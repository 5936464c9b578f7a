"""A photographed page of text, in uneven light: lettering does not get worse, and no halo appears round it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest
from numpy.typing import NDArray

from agent.run import restore_file
from imaging.convert import to_numpy
from imaging.reading import read_image
from profiles.loading import load_profile
from toolbox.pool import ExpertPool

LINES = ("Invoice 2041, 3 March", "Paper, A4: 18.40", "Black ink: 64.99")
PAPER, INK = 235, 30
HALO = 0.06
"""Largest excess over the local brightness of the paper, relative to it: about twice what enlarging by bicubic
interpolation gives.
"""


def photographed() -> tuple[NDArray[Any], NDArray[Any]]:
    """What the camera should see, 480x300 in [0, 1], and the light on white paper."""
    page = PIL.Image.new("L", (960, 600), PAPER)
    draw = PIL.ImageDraw.Draw(page)
    for number, line in enumerate(LINES):
        draw.text((90, 90 + 150 * number), line, fill=INK, font=PIL.ImageFont.load_default(60))
    corners = np.array([[0, 0], [960, 0], [960, 600], [0, 600]], np.float32)
    seen = np.array([[40, 30], [940, 0], [910, 570], [10, 590]], np.float32)
    warp = cv2.getPerspectiveTransform(corners, seen)
    flat = cv2.warpPerspective(np.asarray(page, np.float32) / 255, warp, (960, 600), borderValue=PAPER / 255)
    down, across = np.mgrid[:300, :480] / np.array([300, 480])[:, None, None]
    light = (1 - 0.45 * across - 0.2 * down)[..., None] * np.array([1.0, 0.96, 0.88])
    return cv2.resize(flat, (480, 300), interpolation=cv2.INTER_AREA)[..., None] * light, light * PAPER / 255


CAMERAS = {"good": (0.7, 2.0, 85), "poor": (1.0, 7.0, 45)}
"""Sigma of the blur in pixels of half the size, sigma of the noise in levels, JPEG quality."""


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("profile", ["default", "document"])
def test_lettering_of_a_photographed_page_does_not_get_worse(camera: str, profile: str, tmp_path: Path) -> None:
    blur, noise, quality = CAMERAS[camera]
    truth, paper = photographed()
    small = cv2.GaussianBlur(cv2.resize(truth, (240, 150), interpolation=cv2.INTER_AREA), (0, 0), blur)
    small = (
        np.rint(small * 255 + np.random.default_rng(0).normal(0, noise, small.shape)).clip(0, 255).astype(np.uint8)
    )
    file = tmp_path / "page.jpg"
    PIL.Image.fromarray(small).save(file, quality=quality)
    with PIL.Image.open(file) as shot:
        plain = np.asarray(shot.resize((480, 300), PIL.Image.Resampling.BICUBIC)) / 255
    wanted = load_profile(profile).model_copy(update={"scale_factor": 2, "upscale_4k": False})
    restored = restore_file(file, tmp_path / "out.png", wanted, runs=tmp_path / "runs", experts=ExpertPool())
    result = to_numpy(read_image(restored.output).pixels)
    near = cv2.dilate((truth.mean(axis=2) < 0.6 * paper.mean(axis=2)).astype(np.uint8), np.ones((9, 9))) > 0
    errors = [float(((picture - truth)[near] ** 2).mean()) for picture in (result, plain)]
    assert errors[0] < errors[1]
    clean = cv2.GaussianBlur(result, (0, 0), 1.0)  # single noisy pixels are no halo
    brightest = np.percentile((clean / paper)[near], 99.5)
    assert brightest < 1 + HALO
