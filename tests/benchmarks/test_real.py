"""The benchmark of real photographs on tiny pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data
import torch

from benchmarks import real, report
from benchmarks.real_results import AGENT, Results, Row
from benchmarks.real_sets import WITHOUT_REFERENCE
from benchmarks.real_sheets import most_changed
from imaging.image import Image

SIDE = 64


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures as small as these lose more than they gain by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noisy pairs, a clean photo, and a photo without reference for each folder of the sheet."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("one", "two")):
        clean = skimage.data.astronaut()[number * SIDE :, 160:][:SIDE, :SIDE]
        noisy = np.clip(clean + rng.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
        _save(clean, folder / "real_noise" / "hr" / f"{name}.png")
        _save(noisy, folder / "real_noise" / "input" / f"{name}.png")
    _save(clean, folder / "bsd100" / "hr" / "photo.png")
    for name in WITHOUT_REFERENCE:
        _save(noisy[:48, :48], folder / name / "input" / "photo.png")
    return folder


def _save(pixels: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(file)


@pytest.fixture(scope="module")
def finished(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a whole run on the pairs and the grey photo."""
    output = tmp_path_factory.mktemp("output")
    _run(bench, output, "--sets", "real_noise", "clean_grey")
    return output


def _run(bench: Path, output: Path, *options: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "REPORTS", output)
        real.main(["--data", str(bench), "--output", str(output), *options])


def test_each_pair_is_restored_by_the_agent_and_by_experts_alone(finished: Path) -> None:
    results = Results(finished / "results.jsonl")
    for picture in ("one", "two"):
        row = results.get("real_noise", picture)
        assert row is not None
        assert row.result_db is not None
        assert row.input_db == pytest.approx(20.5, abs=1.5)
        assert results.has("real_noise", picture, "restore4k_denoise_unet")


def test_the_report_names_command_and_pictures_but_no_folder_of_this_machine(finished: Path, bench: Path) -> None:
    report = (finished / "real.md").read_text()
    command = "python -m benchmarks.real --data BENCH --output RESULTS --sets real_noise clean_grey --experts prior"
    assert command in report
    assert "\n| real_noise | 2 |" in report
    assert "\n| clean_grey_4x | 1 |" in report
    assert "\n| two | " in report
    assert str(bench) not in report


def test_a_reduced_photo_is_compared_with_its_bicubic_enlargement(finished: Path) -> None:
    results = Results(finished / "results.jsonl")
    agent, expert = results.get("clean_grey_2x", "photo"), results.get("clean_grey_2x", "photo", "restore4k_sr_x2")
    assert agent is not None
    assert expert is not None
    assert agent.input_db == expert.input_db
    assert expert.gain > 0


def test_a_killed_run_is_resumed(finished: Path, bench: Path) -> None:
    file = finished / "results.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    _run(bench, finished, "--sets", "real_noise", "clean_grey")
    again = file.read_text().splitlines()
    assert again[: len(lines) - 1] == lines[:-1]
    assert len(again) == len(lines) + 1
    assert Row.model_validate_json(again[-1]).key == Row.model_validate_json(lines[-1]).key


def test_results_of_another_commit_are_not_mixed(
    finished: Path, bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "commit", lambda: "another")
    with pytest.raises(SystemExit):
        _run(bench, finished, "--sets", "real_noise")
    assert "this is another" in capsys.readouterr().err


def test_a_picture_that_fails_is_reported_and_the_others_are_restored(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = real.restore_file

    def restore_but_one(source: Path, *arguments: object, **options: object) -> object:
        if source.stem == "one":
            raise ValueError("no luck")
        return restore(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(real, "restore_file", restore_but_one)
    _run(bench, tmp_path, "--sets", "real_noise", "--experts", "none")
    results = Results(tmp_path / "results.jsonl")
    assert results.has("real_noise", "two", AGENT)
    assert "ValueError: no luck" in (tmp_path / "real.md").read_text()


def test_the_sheet_shows_what_was_found_and_done(bench: Path, tmp_path: Path) -> None:
    _run(bench, tmp_path, "--sets", "sheet", "--sheet-scale", "1")
    index = (tmp_path / "sheets" / "index.md").read_text()
    for name in WITHOUT_REFERENCE:
        assert f"({name}_1x_1.png)" in index
        with PIL.Image.open(tmp_path / "sheets" / f"{name}_1x_1.png") as sheet:
            assert sheet.width <= 2000
    assert index.count("found: ") == index.count("done: ") == len(WITHOUT_REFERENCE)


def test_the_crop_shown_has_the_largest_change(photo: Image) -> None:
    pixels = photo.pixels.clone()
    pixels[:, 300:340, 400:440] = 1 - pixels[:, 300:340, 400:440]
    top, left = most_changed(photo, photo.with_pixels(pixels), side=128)
    assert top <= 300
    assert top + 128 >= 340
    assert left <= 400
    assert left + 128 >= 440


def test_missing_sets_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _run(tmp_path, tmp_path, "--sets", "real_lens")
    assert "real_lens" in capsys.readouterr().err
