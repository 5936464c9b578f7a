"""Files of several pages or frames, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from click.testing import Result
from skimage import data
from typer.testing import CliRunner

from server.cli.app import app

PICTURE = np.ascontiguousarray(data.astronaut()[100:148, 200:264])
QUICK = 'scale_factor = 2\nplan = ["super_resolution"]\nexperts = ["lanczos_2x"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESTORE4K_RUNS", str(tmp_path / "runs"))
    (tmp_path / "quick.toml").write_text(QUICK)
    return tmp_path


def restore(folder: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["restore", "-p", str(folder / "quick.toml"), *map(str, arguments)])


def scan(file: Path, *pages: np.ndarray) -> Path:
    with tifffile.TiffWriter(file) as writer:
        writer.write(PICTURE[::4, ::4].copy(), photometric="rgb", subfiletype=1, metadata=None)
        for page in pages:
            writer.write(page, photometric="rgb", metadata=None)
    return file


def test_every_page_or_frame_gets_a_numbered_result(folder: Path) -> None:
    pages = [np.full_like(PICTURE, level) for level in (200, 100, 50)]
    result = restore(folder, scan(folder / "scan.tif", *pages), "--all-pages", "-o", folder / "out.tif", "--json")
    assert result.exit_code == 0, result.output
    outputs = [Path(page["output"]) for page in json.loads(result.stdout)["pages"]]
    assert outputs == [folder / f"out-00{number}.tif" for number in (1, 2, 3)]
    assert [round(tifffile.imread(file).mean()) for file in outputs] == [200, 100, 50]
    first, *others = (PIL.Image.new("RGB", (64, 48), colour) for colour in ("red", "blue"))
    first.save(folder / "moving.gif", save_all=True, append_images=others)
    assert restore(folder, folder / "moving.gif", "--all-pages").exit_code == 0
    assert {file.name for file in folder.glob("moving_*")} == {f"moving_restored-00{number}.png" for number in (1, 2)}


def test_a_page_that_cannot_be_read_ends_it_with_its_number(folder: Path) -> None:
    file = scan(folder / "scan.tif", PICTURE, PICTURE[:4].copy())
    result = restore(folder, file, "--all-pages")
    assert result.exit_code == 2
    assert "page 2: " in result.stderr
    assert "the pages before it are restored" in result.stderr
    assert (folder / "scan_restored-001.png").exists()
    assert "give one of them" in restore(folder, file, "--all-pages", "--page", 1).stderr
