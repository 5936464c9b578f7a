"""Single steps, strength and region on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from server.cli.app import app


def pixels(file: Path) -> np.ndarray[Any, Any]:
    with PIL.Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.fixture
def restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Any) -> Any:
    """Takes one step with the quickest experts; the file of the result, or the message of the refusal."""
    monkeypatch.setenv("RESTORE4K_RUNS", str(tmp_path / "runs"))
    profile = tmp_path / "quick.toml"
    profile.write_text('name = "quick"\nabout = "one denoiser"\nexperts = ["tv_denoise"]\n')

    def run(name: str, *options: str) -> Any:
        output = tmp_path / name
        arguments = ["restore", str(photos.noisy), "--profile", str(profile), "-o", str(output), *options]
        result = CliRunner().invoke(app, arguments)
        return output if result.exit_code == 0 else f"{result.exit_code}: {result.stderr}"

    return run


def test_a_step_is_weakened_and_kept_within_a_region_or_mask(restore: Any, photos: Any, tmp_path: Path) -> None:
    step = ("--steps", "denoise")
    mask = np.zeros((40, 48), np.uint8)
    mask[:, :24] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    before, whole = pixels(photos.noisy), pixels(restore("whole.png", *step))
    half = pixels(restore("half.png", *step, "--strength", "0.5", "--region", "0,0,0.5,1"))
    masked = pixels(restore("masked.png", *step, "--region", str(tmp_path / "mask.png")))
    assert whole.shape == before.shape
    assert np.array_equal(half[:, 50:], before[:, 50:])
    assert np.abs(half[:, 10:30] - (before + whole)[:, 10:30] / 2).max() <= 1
    assert np.array_equal(masked[:, 52:], before[:, 52:])
    assert np.array_equal(masked[:, :40], whole[:, :40])


def test_photos_of_a_folder_are_steered_as_single_ones(restore: Any, photos: Any, tmp_path: Path) -> None:
    """By worker processes; the settings, with the contents of a mask image, are those of all results."""
    mask, portrait = tmp_path / "mask.png", photos.folder / "portrait.png"
    PIL.Image.fromarray(np.repeat(np.uint8([255, 0]), 24)[None].repeat(40, 0)).save(mask)
    PIL.Image.open(photos.clean).transpose(PIL.Image.Transpose.ROTATE_90).save(portrait)
    step = ("--steps", "denoise")

    def batch(folder: str, *options: str) -> Any:
        profile = ("--profile", str(tmp_path / "quick.toml"), *step, "--workers", "1", "--quiet")
        return CliRunner().invoke(app, ["batch", str(photos.folder), str(tmp_path / folder), *profile, *options])

    half = ("--strength", "0.5", "--region", "0,0,0.5,1")
    assert batch("half", *half).exit_code == 0
    assert np.array_equal(pixels(tmp_path / "half/noisy.png"), pixels(restore("half.png", *step, *half)))
    masked = batch("masked", "--region", str(mask))
    assert (masked.exit_code, masked.output.count("failed: ")) == (1, 1)  # the portrait has another shape
    assert "portrait.png: 80x96 and 48x40 do not have the same shape" in masked.output
    single = restore("masked.png", *step, "--region", str(mask))
    assert np.array_equal(pixels(tmp_path / "masked/noisy.png"), pixels(single))
    PIL.Image.new("L", (48, 40), 255).save(mask)
    other = [batch("masked", "--region", str(mask)), batch("half", "--strength", "0.4", *half[2:])]
    assert [one.exit_code for one in other] == [2, 2]
    assert "of strength 0.5, not 0.4" in other[1].stderr


def test_a_region_holds_for_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE4K_RUNS", str(tmp_path / "runs"))
    profile, scan = tmp_path / "quick.toml", tmp_path / "scan.tif"
    profile.write_text('experts = ["tv_denoise"]\n')
    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
    first, second = (PIL.Image.fromarray(page) for page in noise)
    first.save(scan, save_all=True, append_images=[second])
    options = ["--steps", "denoise", "--profile", str(profile), "--all-pages", "--region", "0,0,24,40"]
    assert CliRunner().invoke(app, ["restore", str(scan), *options]).exit_code == 0
    for number, page in enumerate(noise.astype(int), start=1):
        result = pixels(tmp_path / f"scan_restored-00{number}.png")
        assert np.array_equal(result[:, 24:], page[:, 24:])
        assert np.abs(result[:, :20] - page[:, :20]).mean() > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "denoise, polish"), "there is no step 'polish'"),
        (("--steps", "denoise", "--scale", "2"), "add super_resolution to --steps"),
        (("--region", "0.9,0.9,0,0"), "is empty or outside the picture"),
        (("--region", "face 7"), "faces were found"),
        (("--region", "nowhere.png"), "nowhere.png"),
        (("--strength", "2"), "--strength"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    restore: Any, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    refused = restore("none.png", *options)
    assert isinstance(refused, str)
    assert refused.startswith("2: ")
    assert message in refused
    assert not (tmp_path / "none.png").exists()
    assert not (tmp_path / "runs").exists()


def test_scale_1_keeps_the_size(run: Any, photos: Any) -> None:
    budget = ("--max-runs", 1, "--json", "--quiet")
    document = json.loads(run("restore", photos.noisy, "--scale", 1, *budget).stdout)
    assert (document["width"], document["height"]) == (96, 80)
    plan = json.loads(run("plan", photos.noisy, "--scale", 1, "--json").stdout)
    assert "super_resolution" not in [step["task"] for step in plan["steps"]]
    refused = run("restore", photos.noisy, "--scale", 3)
    assert "choose 1 to keep the size" in refused.stderr
