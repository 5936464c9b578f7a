"""What a run keeps of the file of a picture: alpha, grey, metadata, colour space, names and pages."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from agent.finishing import Finishing
from agent.run import restore_file
from agent.run_folder import RunFolder
from imaging.convert import from_numpy
from imaging.decoding.colour import PRIMARIES, adobe_rgb_profile, rgb_profile
from imaging.errors import OutputError
from imaging.image import Image
from imaging.network_space import in_file_space, in_network_space
from imaging.preparing import prepared
from imaging.reading import read_image
from imaging.resizing import resize
from imaging.writing import write_image
from tests.agent.scripted import (
    CLEAN,
    NOISY,
    PLAIN_2X,
    ScriptedPool,
    enlarge,
    expert,
    profile,
    run,
)
from toolbox.tasks import Task

COLOURED = CLEAN * np.array([1, 0.7, 0.3], np.float32)


def test_alpha_grey_depth_and_metadata_are_carried_through(tmp_path: Path) -> None:
    alpha = from_numpy(np.linspace(0, 1, 128 * 128, dtype=np.float32).reshape(128, 128))
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x0f\x00\x02\x00\x00\x00\x02A\x00\x00\x00\x00\x00\x00\x00"
    write_image(Image(from_numpy(NOISY), alpha, None, exif, bit_depth=16), tmp_path / "in.png")
    wanted = profile(restore_option="super-resolution")
    result = read_image(run(tmp_path / "in.png", wanted, ScriptedPool(PLAIN_2X)).output)
    assert result.bit_depth == 16
    assert result.exif is not None
    assert result.alpha is not None
    assert result.alpha.shape == (1, 256, 256)


def test_hidden_colours_leave_no_fringe_around_a_cut_out(tmp_path: Path) -> None:
    alpha = from_numpy(np.pad(np.ones((64, 64), np.float32), 32))
    write_image(Image(alpha.expand(3, -1, -1) * 0.9, alpha), tmp_path / "in.png")  # a light square, black around it
    restoration = run(tmp_path / "in.png", profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X))
    result = read_image(restoration.output)
    assert result.alpha is not None
    assert float(result.pixels[:, result.alpha[0] > 0].min()) > 0.89


def test_the_report_shows_a_cut_out_on_white(tmp_path: Path) -> None:
    alpha = from_numpy(np.pad(np.ones((64, 64), np.float32), 32))
    write_image(Image(alpha.expand(3, -1, -1) * 0.2, alpha), tmp_path / "in.png")
    restoration = run(tmp_path / "in.png", profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X))
    for name in ("before", "after"):
        assert float(read_image(restoration.folder / f"{name}.jpg").pixels[:, 0, 0].min()) > 0.95


@pytest.mark.parametrize("one_channel", [True, False])
def test_a_grey_picture_stays_grey_and_keeps_its_channels(tmp_path: Path, one_channel: bool) -> None:
    grey = from_numpy(NOISY).mean(0, keepdim=True).expand(3, -1, -1).contiguous()
    write_image(Image(grey, greyscale=one_channel), tmp_path / "in.png")

    def tint(image: Image) -> Image:
        pixels = enlarge(2)(image).pixels.clone()
        pixels[0] += 0.05
        return image.with_pixels(pixels)

    pool = ScriptedPool(expert("tint", Task.SUPER_RESOLUTION, tint, 2))
    result = read_image(run(tmp_path / "in.png", profile(restore_option="super-resolution"), pool).output)
    assert result.greyscale == one_channel
    assert result.pixels[0].equal(result.pixels[1])
    assert result.pixels[0].equal(result.pixels[2])


def test_metadata_is_kept_or_rightly_changed_or_stripped(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8825)[1] = 128, "N"
    map_tags = {33550: (2.0, 2.0, 0.0), 33922: (0.0, 0.0, 0.0, 10.0, 20.0, 0.0)}
    image = Image(from_numpy(NOISY), exif=exif.tobytes(), xmp=b"<x/>", iptc=b"\x1c\x02\x05\0\1A", bit_depth=16)
    write_image(replace(image, dpi=(300.0, 150.0), geotiff=map_tags), tmp_path / "in.tif")
    wanted, pool = profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X)
    for strip in (False, True):
        output = tmp_path / f"{strip}.tif"
        restore_file(
            tmp_path / "in.tif",
            output,
            wanted,
            runs=tmp_path / "runs",
            experts=pool,
            finishing=Finishing(strip_metadata=strip, keep_print_size=strip),
        )
        result = read_image(output)
        assert result.dpi == ((600.0, 300.0) if strip else (300.0, 150.0))
        assert (result.xmp, result.iptc) == ((None, None) if strip else (b"<x/>", image.iptc))
        assert result.geotiff.get(33550) == (None if strip else (1.0, 1.0, 0.0))
        kept = PIL.Image.Exif()
        kept.load(result.exif or b"")
        assert kept.get_ifd(0x8769).get(0xA002) == (None if strip else 256)
        assert bool(kept.get_ifd(0x8825)) != strip


def test_the_history_of_a_result_is_the_same_after_a_restart(tmp_path: Path) -> None:
    write_image(Image(from_numpy(NOISY), dpi=(72.0, 72.0)), tmp_path / "in.png")
    folder = RunFolder.create(tmp_path / "kept")
    image = replace(read_image(tmp_path / "in.png"), keeps_print_size=True, associated_alpha=True)
    folder.save_image(0, image.with_note("denoising"))
    loaded = folder.load_image(0)
    assert (loaded.keeps_print_size, loaded.associated_alpha) == (True, True)
    wanted = profile(restore_option="super-resolution")
    result = read_image(run(tmp_path / "in.png", wanted, ScriptedPool(PLAIN_2X)).output)
    assert result.xmp is not None
    assert result.xmp.count(b"stEvt:parameters") == 1
    assert b'"super_resolution 2x by' in result.xmp
    folder.save_image(1, image.without_metadata())
    assert folder.load_image(1).with_note("denoising").xmp is None


SPACES = {"linear": rgb_profile(gamma=1.0), "P3": rgb_profile(PRIMARIES[12]), "Adobe RGB": adobe_rgb_profile()}


@pytest.mark.parametrize("space", SPACES)
def test_a_picture_in_another_space_is_restored_as_the_same_picture_in_srgb(tmp_path: Path, space: str) -> None:
    """A network that squares what it sees would change each in its own way."""

    def square(image: Image) -> Image:
        return image.with_pixels(enlarge(2)(image).pixels ** 2)

    seen = Image(from_numpy(COLOURED), icc_profile=SPACES[space], bit_depth=16, network_space=True)
    write_image(seen, tmp_path / "other.png")
    write_image(Image(from_numpy(COLOURED), bit_depth=16), tmp_path / "srgb.png")
    assert float((read_image(tmp_path / "other.png").pixels - from_numpy(COLOURED)).abs().max()) > 0.05
    pool, results = ScriptedPool(expert("square", Task.SUPER_RESOLUTION, square, 2)), []
    for name in ("other", "srgb"):
        restore_file(
            tmp_path / f"{name}.png",
            tmp_path / f"{name}_out.png",
            profile(restore_option="super-resolution"),
            runs=tmp_path / "runs",
            experts=pool,
        )
        results.append(in_network_space(read_image(tmp_path / f"{name}_out.png")))
    assert results[0].icc_profile
    assert float((results[0].pixels - results[1].pixels).abs().max()) < 0.01


def test_a_stopped_run_keeps_the_values_of_a_file_in_another_space(tmp_path: Path) -> None:
    values = np.rint(np.random.default_rng(0).random((32, 32, 3)) * 65535).astype(np.float32) / np.float32(65535)
    image = prepared(Image(from_numpy(values), icc_profile=SPACES["P3"], bit_depth=16))
    folder = RunFolder.create(tmp_path / "kept")
    folder.save_image(0, image)
    folder.save_image(1, image.with_pixels(resize(image.pixels, 64, 64)))
    assert in_file_space(folder.load_image(0)).pixels.equal(from_numpy(values))
    again = folder.load_image(1)
    assert again.file_pixels is not None
    assert again.file_pixels.equal(from_numpy(values))


@pytest.mark.parametrize("length", [232, 245, 255])
def test_names_up_to_the_longest_work_and_longer_ones_are_refused_before_any_work(
    tmp_path: Path, noisy_file: Path, length: int
) -> None:
    wanted, pool = profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X)
    name = "\u5199" * ((length - 4) // 3)
    name = name + "a" * (length - 4 - len(name.encode())) + ".png"
    restoration = restore_file(noisy_file, tmp_path / name, wanted, runs=tmp_path / "runs", experts=pool)
    assert restoration.output.is_file()
    pool = ScriptedPool(PLAIN_2X)
    for bad in ("a" * 256 + ".png", os.fsdecode(b"caf\xe9.png")):
        with pytest.raises(OutputError, match="name"):
            restore_file(noisy_file, tmp_path / bad, wanted, runs=tmp_path / "runs", experts=pool)
    assert pool.calls == []


def test_a_source_whose_name_is_not_utf_8_is_restored(tmp_path: Path, noisy_file: Path) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9.png")
    source.write_bytes(noisy_file.read_bytes())
    assert run(source, profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X)).output.is_file()


def test_the_first_of_several_pages_is_restored_with_a_notice(tmp_path: Path) -> None:
    first, second = (PIL.Image.fromarray((array * 255).astype(np.uint8)) for array in (CLEAN, NOISY))
    first.save(tmp_path / "in.tif", save_all=True, append_images=[second])
    restoration = run(tmp_path / "in.tif", profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X))
    assert any("2 pages" in warning for warning in restoration.summary().warnings)
