"""Pixels live in memory as long as the budget allows it, in nameless files beyond it; nobody sees a difference."""

from __future__ import annotations

import errno
import os
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from imaging import pixels
from imaging.errors import OutputError, ResourceError
from imaging.image import Image
from imaging.pixels import MEMORY_VARIABLE, copied, drop_pages, empty, is_in_file, memory_budget, row_chunks
from imaging.writing import encode_image, write_image

MEGAPIXEL = (3, 1000, 1000)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="everything lives in memory there")


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that leaves nothing for pixels."""
    monkeypatch.setenv(MEMORY_VARIABLE, "0.5")


def resident_file_bytes() -> int:
    shared: int = psutil.Process().memory_info().shared
    return shared


def test_tensors_within_the_budget_live_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, "2")
    tensor = empty(MEGAPIXEL)
    assert not is_in_file(tensor)
    assert tensor.shape == MEGAPIXEL
    assert tensor.dtype == torch.float32


def test_the_more_budget_the_larger_the_pictures_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    for gigabytes in ("1.05", "1.1"):
        monkeypatch.setenv(MEMORY_VARIABLE, gigabytes)
        places.append(is_in_file(empty(MEGAPIXEL)))
    assert places == [True, False]


@pytest.fixture
def beyond_memory(tight: None) -> Image:
    del tight
    image = Image(empty((3, 700, 600)).uniform_(generator=torch.Generator().manual_seed(0)), bit_depth=16)
    assert is_in_file(image.pixels)
    return image


def test_a_picture_beyond_the_budget_is_written_as_any_other(beyond_memory: Image, tmp_path: Path) -> None:
    write_image(beyond_memory, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == encode_image(beyond_memory, "PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "out.png"]


def test_a_picture_that_does_not_fit_on_disk_leaves_the_old_file(
    beyond_memory: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.png"
    file.write_bytes(b"precious")

    def parts(*_: object) -> Iterator[bytes]:
        yield b"the beginning"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("imaging.writing.png_parts", parts)
    with pytest.raises(OutputError, match="No space left"):
        write_image(beyond_memory, file, overwrite=True)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"precious"]


@pytest.mark.usefixtures("tight")
def test_tensors_beyond_the_budget_live_in_a_file() -> None:
    tensor = empty(MEGAPIXEL, torch.int16)
    assert is_in_file(tensor[:, 5:9])
    assert int(tensor.sum(dtype=torch.int64)) == 0
    with torch.inference_mode():
        inside = empty(MEGAPIXEL)
        inside += 0.25
    inside *= 2
    assert float(inside.mean()) == 0.5
    assert torch.equal(copied(inside), inside)


@pytest.mark.usefixtures("tight")
def test_small_tensors_need_no_file() -> None:
    assert not is_in_file(empty((3, 64, 64)))


@pytest.mark.usefixtures("tight")
def test_its_file_has_no_name_and_goes_with_the_last_tensor_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tensor = empty(MEGAPIXEL)
    row, mapping = tensor[:, :1], weakref.ref(pixels._mappings[tensor.data_ptr()])
    assert list(tmp_path.iterdir()) == []
    del tensor
    assert is_in_file(row)
    del row
    assert mapping() is None


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux tells it")
@pytest.mark.usefixtures("tight")
def test_dropped_pages_free_memory_and_the_pixels_remain() -> None:
    tensor = empty((3, 2000, 2000))
    tensor.fill_(0.5)
    full = resident_file_bytes()
    drop_pages(tensor)
    assert full - resident_file_bytes() > 0.9 * tensor.nbytes
    assert bool((tensor == 0.5).all())


def test_letting_go_of_a_tensor_in_memory_does_nothing() -> None:
    tensor = torch.full((3, 2000, 2000), 0.5)
    drop_pages(tensor)
    assert bool((tensor == 0.5).all())


def test_strips_are_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "CHUNK_PIXELS", 700)
    found = list(row_chunks(torch.empty(3, 101, 100), torch.empty(1, 101, 7)))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(101))
    assert {rows.stop - rows.start for rows in found[:-1]} == {7}


@pytest.mark.usefixtures("tight")
def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(ResourceError, match=r"11 MiB.*No space left.*TMPDIR"):
        empty(MEGAPIXEL)


@pytest.mark.usefixtures("tight")
def test_files_lie_where_tmpdir_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    with pytest.raises(ResourceError, match="absent"):
        empty(MEGAPIXEL)


@pytest.mark.parametrize("value", ["much", "0", "-2", "nan"])
def test_an_invalid_budget_is_reported(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, value)
    with pytest.raises(ResourceError, match=MEMORY_VARIABLE):
        memory_budget()


def test_by_default_half_of_the_free_memory_is_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MEMORY_VARIABLE, raising=False)
    assert 0 < memory_budget() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


@pytest.mark.usefixtures("tight")
def test_pixels_within_range_are_taken_over_as_they_are_and_others_clamped() -> None:
    fine, wild = empty(MEGAPIXEL), empty(MEGAPIXEL)
    wild += 2
    image = Image(fine)
    assert image.with_pixels(fine).pixels is fine
    assert float(image.with_pixels(wild).pixels.max()) == 1
    assert float(wild.max()) == 2
