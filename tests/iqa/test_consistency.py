"""Consistency: the truth explains its degraded version, anything else does not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imaging.convert import FloatArray, from_numpy, to_numpy
from imaging.image import Image
from imaging.resizing import resize
from iqa.consistency import PARTS, consistency
from iqa.errors import SizesDiffer
from toolbox.tasks import Task
from training.data.degradations import jpeg

Picture = Callable[[FloatArray], Image]
Degrade = Callable[[FloatArray], FloatArray]


def noisy(pixels: FloatArray) -> FloatArray:
    return pixels + np.random.default_rng(0).normal(0, 25 / 255, pixels.shape).astype(np.float32)


def compressed(pixels: FloatArray) -> FloatArray:
    data = cv2.imencode(".jpg", (pixels[..., ::-1] * 255).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255


def moved(pixels: FloatArray) -> FloatArray:
    kernel = np.diag(np.ones(9, np.float32)) / 9
    return cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REFLECT)


def defocused(pixels: FloatArray) -> FloatArray:
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)).astype(np.float32)
    return cv2.filter2D(pixels, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT)


def hazy(pixels: FloatArray) -> FloatArray:
    haze = np.linspace(0.7, 0.4, len(pixels), dtype=np.float32)[:, None, None]
    return pixels * (1 - haze) + 0.9 * haze


def dark(pixels: FloatArray) -> FloatArray:
    return 0.4 * pixels**1.2


def rainy(pixels: FloatArray) -> FloatArray:
    drops = (np.random.default_rng(0).random(pixels.shape[:2]) < 0.003).astype(np.float32)
    return np.clip(pixels + 0.4 * cv2.filter2D(drops, -1, np.ones((17, 1), np.float32))[..., None], 0, 1)


DEGRADED: dict[Task, Degrade] = {
    Task.DENOISING: noisy,
    Task.JPEG_ARTIFACT_REMOVAL: compressed,
    Task.MOTION_DEBLURRING: moved,
    Task.DEFOCUS_DEBLURRING: defocused,
    Task.DEHAZING: hazy,
    Task.BRIGHTENING: dark,
    Task.DERAINING: rainy,
}
SAME_SIZE = list(DEGRADED)


@pytest.fixture(scope="module")
def photo(photos: dict[str, FloatArray]) -> FloatArray:
    return photos["coffee"][:320, 100:500]


@pytest.fixture(scope="module")
def texture(photo: FloatArray) -> FloatArray:
    """Fine detail that the photo does not have, as strong as a network's inventions."""
    grain = gaussian_filter(np.random.default_rng(3).normal(size=photo.shape[:2]), 1.2)
    return (0.06 * grain / grain.std()).astype(np.float32)[..., None]


@pytest.mark.parametrize("task", SAME_SIZE)
def test_the_true_picture_explains_its_degraded_version(task: Task, photo: FloatArray, picture: Picture) -> None:
    assert consistency(task, picture(DEGRADED[task](photo)), picture(photo)) > 0.9


@pytest.mark.parametrize("task", PARTS)
def test_changing_nothing_is_fully_consistent(task: Task, photo: FloatArray, picture: Picture) -> None:
    before = picture(DEGRADED.get(task, noisy)(photo))
    assert consistency(task, before, before) > 0.99


@pytest.mark.parametrize("task", PARTS)
def test_another_picture_explains_nothing(
    task: Task, photo: FloatArray, photos: dict[str, FloatArray], picture: Picture
) -> None:
    other = photos["astronaut"][:320, :400]
    assert consistency(task, picture(DEGRADED.get(task, noisy)(photo)), picture(other)) < 0.1


@pytest.mark.parametrize("task", SAME_SIZE)
def test_invented_texture_is_less_consistent_than_the_truth(
    task: Task, photo: FloatArray, texture: FloatArray, picture: Picture
) -> None:
    before = picture(DEGRADED[task](photo))
    honest, invented = (consistency(task, before, picture(after)) for after in (photo, photo + texture))
    assert invented < honest - 0.1


@pytest.mark.parametrize("task", [task for task in SAME_SIZE if task is not Task.DEHAZING])
def test_a_colour_cast_is_punished(task: Task, photo: FloatArray, picture: Picture) -> None:
    before, cast = picture(DEGRADED[task](photo)), photo * np.array([0.8, 1.0, 1.2], np.float32)
    assert consistency(task, before, picture(cast)) < 0.8


def test_dehazing_may_take_away_the_cast_of_the_air_but_not_turn_hues(photo: FloatArray, picture: Picture) -> None:
    before = picture(hazy(photo))
    slight = photo * np.array([0.95, 1.0, 1.05], np.float32)
    assert consistency(Task.DEHAZING, before, picture(slight)) > 0.9
    assert consistency(Task.DEHAZING, before, picture(photo[..., ::-1])) < 0.5


def test_denoising_that_takes_detail_with_it_is_less_consistent(photo: FloatArray, picture: Picture) -> None:
    before = picture(noisy(photo))
    smeared = gaussian_filter(photo, (3, 3, 0))
    assert consistency(Task.DENOISING, before, picture(smeared)) < 0.7


def test_deblurring_that_blurs_is_not_consistent(photo: FloatArray, picture: Picture) -> None:
    before = picture(defocused(photo))
    assert consistency(Task.DEFOCUS_DEBLURRING, before, picture(gaussian_filter(photo, (4, 4, 0)))) < 0.2


def test_brightening_that_turns_light_into_dark_is_not_consistent(photo: FloatArray, picture: Picture) -> None:
    assert consistency(Task.BRIGHTENING, picture(dark(photo)), picture(1 - photo)) < 0.1


def test_deraining_that_darkens_broad_areas_is_less_consistent(photo: FloatArray, picture: Picture) -> None:
    patched = photo.copy()
    patched[100:200, 100:250] *= 0.6
    assert consistency(Task.DERAINING, picture(rainy(photo)), picture(patched)) < 0.5


@pytest.mark.parametrize("scale", [2, 4])
def test_enlargements_are_judged_by_their_reduction(
    scale: int, photo: FloatArray, texture: FloatArray, picture: Picture
) -> None:
    truth = picture(photo)
    small = Image(resize(truth.pixels, truth.height // scale, truth.width // scale))
    cubic = Image(resize(small.pixels, truth.height, truth.width))
    blocks = Image(small.pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2))
    invented = picture(photo + 2 * texture)
    scores = [consistency(Task.SUPER_RESOLUTION, small, after) for after in (truth, cubic, blocks, invented)]
    assert scores[0] > 0.99
    assert scores[1] > 0.6
    assert scores[3] < min(scores[:3])
    turned = Image(truth.pixels.flip(-1))
    assert consistency(Task.SUPER_RESOLUTION, small, turned) < 0.1


@pytest.mark.parametrize("damaged", ["noise", "compression", "compression, then another size"])
def test_enlarging_may_remove_noise_and_compression(photo: FloatArray, picture: Picture, damaged: str) -> None:
    truth = picture(photo)
    small = to_numpy(resize(truth.pixels, truth.height // 2, truth.width // 2))
    if damaged == "noise":
        small = noisy(small)
    else:
        small = jpeg(small, 15)
        if "another" in damaged:
            small = to_numpy(resize(from_numpy(small), truth.height // 3, truth.width // 3))
    before = picture(small)
    cleaned, turned = (
        consistency(Task.SUPER_RESOLUTION, before, one) for one in (truth, Image(truth.pixels.flip(-1)))
    )
    assert cleaned > 0.6
    assert turned < 0.1


def test_a_colour_cast_of_an_enlargement_is_punished(photo: FloatArray, picture: Picture) -> None:
    truth = picture(photo)
    small = Image(resize(truth.pixels, truth.height // 4, truth.width // 4))
    cast = picture(photo * np.array([0.8, 1.0, 1.2], np.float32))
    assert consistency(Task.SUPER_RESOLUTION, small, cast) < 0.5


def test_large_pictures_are_judged_on_crops(photo: FloatArray, picture: Picture) -> None:
    large = np.tile(photo, (4, 4, 1))
    before = picture(noisy(large))
    assert consistency(Task.DENOISING, before, picture(large)) > 0.8
    assert consistency(Task.DENOISING, before, picture(np.roll(large, 90, 1))) < 0.1


@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 30), (32, 32)])
def test_small_pictures_have_an_answer(task: Task, height: int, width: int) -> None:
    image = Image(from_numpy(np.random.default_rng(0).random((height, width, 3))))
    assert consistency(task, image, image) == pytest.approx(1)


@pytest.mark.parametrize("task", Task)
def test_flat_pictures_have_an_answer(task: Task) -> None:
    image = Image(from_numpy(np.full((40, 40, 3), 0.4)))
    assert consistency(task, image, image) == pytest.approx(1)


def test_sizes_that_do_not_fit_the_task_are_refused(photo: FloatArray, picture: Picture) -> None:
    image = picture(photo)
    smaller = picture(to_numpy(image.pixels)[:100])
    with pytest.raises(SizesDiffer, match=r"400x100.*400x320"):
        consistency(Task.DENOISING, image, smaller)
    with pytest.raises(SizesDiffer, match="not enlarged"):
        consistency(Task.SUPER_RESOLUTION, image, smaller)
