"""Pictures for judges: small enough, true to the pixels, and with everybody's name on them."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from agent.reasoners.sheet import candidate_sheet, mime_type, whole_and_detail
from agent.state import Step
from imaging.convert import from_numpy
from imaging.image import Image
from imaging.resizing import resize
from toolbox.tasks import Task

DENOISE, ENLARGE, DEHAZE = (
    Step(task=Task.DENOISING),
    Step(task=Task.SUPER_RESOLUTION, scale=4),
    Step(task=Task.DEHAZING),
)


def opened(data: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def shaded(image: Image, value: float) -> Image:
    return image.with_pixels(image.pixels * 0 + value)


def noise(side: int) -> Image:
    return Image(from_numpy(np.random.default_rng(0).random((side, side, 3), np.float32)))


def test_a_large_picture_is_sent_reduced_with_a_detail_at_full_resolution(photo: Image) -> None:
    large = photo.with_pixels(resize(photo.pixels, 2000, 2000))
    whole, part = (opened(data) for data in whole_and_detail(large))
    assert whole.shape == (768, 768, 3)
    assert part.shape == (256, 256, 3)
    pixels = np.rint(large.pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    corner = part[0, 0]
    places = np.argwhere((pixels[:-256, :-256] == corner).all(2))
    assert any(np.array_equal(pixels[y : y + 256, x : x + 256], part) for y, x in places)


def test_a_small_picture_comes_alone_and_unchanged(photo: Image) -> None:
    (whole,) = whole_and_detail(photo)
    assert np.array_equal(opened(whole), np.rint(photo.pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8))


@pytest.mark.parametrize("most_bytes", [400_000, 60_000, 20_000])
def test_even_pure_noise_is_held_within_its_bytes(most_bytes: int) -> None:
    for data in whole_and_detail(noise(1500), most_bytes=most_bytes):
        assert len(data) <= most_bytes
        assert mime_type(data) in ("image/png", "image/jpeg")


def test_transparent_areas_are_white(photo: Image) -> None:
    clear = Image(photo.pixels, alpha=photo.pixels[:1] * 0)
    assert (opened(whole_and_detail(clear)[0]) == 255).all()


def test_a_sheet_shows_the_input_and_each_candidate_under_its_name(photo: Image) -> None:
    candidates = {"black": shaded(photo, 0.0), "grey": shaded(photo, 0.6), "white": shaded(photo, 1.0)}
    sheet = opened(candidate_sheet(photo, candidates, DENOISE))
    assert sheet.shape == (2 * 276, 2 * 256, 3)
    cells = [sheet[y : y + 276, x : x + 256] for y in (0, 276) for x in (0, 256)]
    assert all((cell[:20] < 100).any() for cell in cells)
    assert [int(cell[100, 80, 0]) for cell in cells[1:]] == [0, 153, 255]
    assert cells[0][20:].std() > 20


def test_keeping_the_input_is_the_inputs_own_cell(photo: Image) -> None:
    alone = opened(candidate_sheet(photo, {"black": shaded(photo, 0.0)}, DENOISE))
    both = opened(candidate_sheet(photo, {"black": shaded(photo, 0.0), "keep_input 0.4": photo}, DENOISE))
    assert alone.shape == both.shape
    assert np.array_equal(alone[20:], both[20:])
    assert not np.array_equal(alone[:20], both[:20])


def test_the_input_of_an_enlargement_shows_the_same_part_as_its_results(photo: Image) -> None:
    small = photo.with_pixels(resize(photo.pixels, 128, 128))
    larger = small.with_pixels(resize(small.pixels, 512, 512))
    sheet = opened(candidate_sheet(small, {"bicubic": larger}, ENLARGE)).astype(float)
    before, after = sheet[20:, :256], sheet[20:, 256:]
    assert np.abs(before - after)[30:-30, 30:-30].mean() < 6
    assert before.std() > 20


def test_global_tasks_are_shown_on_the_whole_picture(photo: Image) -> None:
    sheet = opened(candidate_sheet(photo, {"same": photo}, DEHAZE)).astype(float)
    whole = np.rint(resize(photo.pixels, 256, 256).permute(1, 2, 0).numpy() * 255)
    assert np.abs(sheet[20:276, :256] - whole).max() <= 1


@pytest.mark.parametrize("count", [1, 5, 6, 12, 33])
def test_a_sheet_of_many_stays_small(count: int) -> None:
    grain = noise(600)
    data = candidate_sheet(grain, {f"expert_with_a_long_name_{n} 0.5": grain for n in range(count)}, DENOISE, 120_000)
    assert len(data) <= 120_000
    assert max(opened(data).shape) <= 1200
