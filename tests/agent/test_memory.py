"""A budget of memory decides where pixels live, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import PIL.Image
import psutil
import pytest
import skimage.data
import torch

from agent.events import Event, StepFinished
from agent.run import restore_file, resume_run
from imaging import pixels
from imaging.errors import Cancelled, ResourceError
from imaging.progress import ProgressToken
from profiles.schema import Profile
from toolbox import expert
from toolbox.tasks import Task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are counted as Linux tells of them")

PROFILE = Profile(
    name="four steps",
    plan=(Task.JPEG_ARTIFACT_REMOVAL, Task.DEHAZING, Task.DENOISING, Task.SUPER_RESOLUTION),
    experts=("guided_deblock", "learned_transmission_map", "restore4k_denoise", "back_projection_2x"),
    scale_factor=2,
    keep_input=False,
)


@pytest.fixture
def photo_file(tmp_path: Path) -> Path:
    """A JPEG of 300x200 with an orientation."""
    file = tmp_path / "photo.jpg"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(skimage.data.coffee()[::2, ::2]).save(file, quality=40, exif=exif)
    return file


def restored(source: Path, name: str, **more: object) -> bytes:
    output = source.with_name(f"{name}.png")
    restore_file(source, output, PROFILE, runs=source.with_name("runs"), **more)  # type: ignore[arg-type]
    return output.read_bytes()


def test_the_file_is_the_same_with_and_without_a_budget(
    photo_file: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(expert, "REDUCED_PIXELS", 30_000)
    monkeypatch.setattr(pixels, "CHUNK_PIXELS", 20_000)
    roomy = restored(photo_file, "roomy")
    most, in_file = 0, pixels._in_file

    def counted(count: int, dtype: torch.dtype) -> torch.Tensor:
        nonlocal most
        tensor = in_file(count, dtype)
        most = max(most, bytes_in_files(temporary))
        return tensor

    monkeypatch.setattr(pixels, "_in_file", counted)
    monkeypatch.setattr(pixels, "SMALLEST_FILE", 100_000)
    monkeypatch.setenv(pixels.MEMORY_VARIABLE, "0.1")
    assert restored(photo_file, "tight") == roomy
    assert 3 <= most / (4 * 3 * 400 * 600) <= pixels.ALIVE


def bytes_in_files(folder: Path) -> int:
    """What this process has mapped of files in a folder."""
    return sum(one.size for one in psutil.Process().memory_maps(grouped=False) if one.path.startswith(str(folder)))


def test_a_run_that_was_stopped_is_resumed_with_another_budget(
    photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, token, runs = restored(photo_file, "at once"), ProgressToken(), photo_file.with_name("stopped")

    def stop(event: Event) -> None:
        if isinstance(event, StepFinished):
            token.cancel()

    monkeypatch.setattr(pixels, "SMALLEST_FILE", 100_000)
    monkeypatch.setenv(pixels.MEMORY_VARIABLE, "0.1")
    output = photo_file.with_name("resumed.png")
    with pytest.raises(Cancelled):
        restore_file(photo_file, output, PROFILE, runs=runs, token=token, listener=stop)
    monkeypatch.setenv(pixels.MEMORY_VARIABLE, "100")
    resume_run(next(runs.iterdir()))
    assert output.read_bytes() == expected


def test_an_invalid_budget_is_reported_before_any_work(photo_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pixels.MEMORY_VARIABLE, "lots")
    with pytest.raises(ResourceError, match="RESTORE4K_MEMORY='lots'"):
        restored(photo_file, "never")
    assert not photo_file.with_name("runs").exists()
