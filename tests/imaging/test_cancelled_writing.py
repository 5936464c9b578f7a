"""Writing of a picture that is cancelled ends soon and leaves nothing, whatever the format."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from imaging.errors import Cancelled, OutputError
from imaging.image import Image
from imaging.output import FORMAT_OF
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import encode_image, write_image

SUFFIXES = {kind: suffix for suffix, kind in FORMAT_OF.items()}
SLOW = {"HEIF": 1024, "JXL": 1536, "WEBP": 3072, "AVIF": 3072}
"""The side of a picture that its encoder needs more than a second for."""


class Impatient(ProgressToken):
    """Cancelled by its own check of that number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left, self.lock = number, threading.Lock()

    def check(self) -> None:
        with self.lock:
            self.left -= 1
        if self.left <= 0:
            self.cancel()
        super().check()


def noise(side: int) -> Image:
    return Image(torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kind", sorted(SUFFIXES))
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_picture_is_not_written_once_it_is_cancelled(tmp_path: Path, kind: str, overwrite: bool) -> None:
    file = tmp_path / f"out{SUFFIXES[kind]}"
    if overwrite:
        file.write_bytes(b"precious")
    for number in (1, 2):
        with pytest.raises(Cancelled):
            write_image(noise(32), file, overwrite=overwrite, token=Impatient(number))
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([b"precious"] if overwrite else [])


@pytest.mark.parametrize("number", [3, 6])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_large_picture_stops_between_its_strips(tmp_path: Path, kind: str, number: int) -> None:
    with pytest.raises(Cancelled):
        write_image(noise(1500), tmp_path / f"out{SUFFIXES[kind]}", token=Impatient(number))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_encoder_is_stopped_while_it_works(tmp_path: Path, kind: str) -> None:
    token = Impatient(3)  # one check before, two while the encoder runs
    with pytest.raises(Cancelled):
        write_image(noise(SLOW[kind]), tmp_path / f"out{SUFFIXES[kind]}", token=token)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", sorted({"HEIF", "JXL", "WEBP", "AVIF"}))
@pytest.mark.parametrize("channels", ["grey", "colour", "alpha"])
def test_a_process_of_its_own_writes_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, kind: str, channels: str
) -> None:
    picture = Image(
        noise(64).pixels[:1].expand(3, -1, -1).contiguous() if channels == "grey" else noise(64).pixels,
        alpha=noise(64).pixels[:1].contiguous() if channels == "alpha" else None,
        greyscale=channels == "grey",
        xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
    )
    here = encode_image(picture, kind)
    monkeypatch.setattr("imaging.writing.SLOW_FROM_PIXELS", dict.fromkeys(SLOW, 0))
    assert encode_image(picture, kind) == here
    assert read_image(here).width == 64


@pytest.mark.parametrize("kind", ["HEIF"])
def test_an_encoder_that_fails_in_its_process_is_an_output_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setattr("imaging.writing.SLOW_FROM_PIXELS", {kind: 0})
    with pytest.raises(OutputError, match="choose PNG"):
        write_image(Image(torch.zeros(3, 8, 70_000)), tmp_path / f"out{SUFFIXES[kind]}")
    assert not list(tmp_path.iterdir())
