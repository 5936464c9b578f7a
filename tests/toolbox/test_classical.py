"""Every classical expert reduces the degradation of its task on real photos, and does no harm otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from skimage import data

from imaging.colour import luma
from imaging.convert import FloatArray, from_numpy, to_float, to_numpy, to_uint8
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from toolbox.card import ExpertCard
from toolbox.catalogue import default_catalogue
from toolbox.classical.free_kernel import free_kernel
from toolbox.classical.streaks import half_gaussian_kernel, line_kernel
from toolbox.expert import load_expert, run_expert
from toolbox.tasks import Degradation, Severity, Task
from training.data.degradations import Applied, convolve, degrade, downscale, jpeg, path_kernel

OTHERS = {Task.FACE_RESTORATION, Task.OLD_PHOTO_RESTORATION}
"""Tasks without a degradation synthesis; they have separate tests."""
CLASSICAL = [card for card in default_catalogue() if card.loader == "classical" and card.task not in OTHERS]
SAME_SIZE = [card for card in CLASSICAL if card.scale == 1]
ENLARGING = [card for card in CLASSICAL if card.scale > 1]
COLOUR_KEEPING = {
    Task.DENOISING,
    Task.DEFOCUS_DEBLURRING,
    Task.MOTION_DEBLURRING,
    Task.JPEG_ARTIFACT_REMOVAL,
    Task.SUPER_RESOLUTION,
}
MADE_FOR = {
    "clahe_brighten": Severity.VERY_HIGH,
    "contrast_dehaze": Severity.HIGH,
}
"""Severities that an expert is made for, where it is not MEDIUM."""
STRAIGHT = {"tv_motion", "lucy_motion"}
"""Experts that estimate a straight motion blur."""
DRAWS = 2
LEAST_GAIN_DB = 0.1


@pytest.fixture(scope="module")
def photos() -> list[FloatArray]:
    """Three crops of 256x256 pixels."""
    astronaut, coffee, cat = data.astronaut(), data.coffee(), data.chelsea()
    return [to_float(astronaut[:256, 100:356]), to_float(coffee[60:316, 150:406]), to_float(cat[20:276, 80:336])]


def restored(card: ExpertCard, pixels: FloatArray, token: ProgressToken | None = None) -> FloatArray:
    return to_numpy(run_expert(load_expert(card), Image(from_numpy(pixels)), token or ProgressToken()).pixels)


def psnr(one: FloatArray, other: FloatArray) -> float:
    return -10 * float(np.log10(np.mean((one - other) ** 2) + 1e-10))


def degraded(card: ExpertCard, photo: FloatArray) -> Iterator[FloatArray]:
    """The photo with random instances of the degradation of the card's task, rounded to 8 bit as in a file."""
    severity, found = MADE_FOR.get(card.name, Severity.MEDIUM), 0
    for seed in range(100):
        pixels, applied = degrade(photo, card.task.degradation, np.random.default_rng(seed), severity)
        if _is_fair(card, applied):
            yield np.rint(pixels * 255).astype(np.float32) / np.float32(255)
            found += 1
        if found == DRAWS:
            return


def _is_fair(card: ExpertCard, applied: Applied) -> bool:
    return card.name not in STRAIGHT or applied.parameters["kind"] == "line"


@pytest.mark.parametrize("card", [card for card in SAME_SIZE if card.standalone], ids=lambda card: card.name)
def test_an_expert_raises_the_psnr_of_degraded_photos(card: ExpertCard, photos: list[FloatArray]) -> None:
    gains = [psnr(restored(card, bad), photo) - psnr(bad, photo) for photo in photos for bad in degraded(card, photo)]
    assert len(gains) == DRAWS * len(photos)
    assert np.mean(gains) > LEAST_GAIN_DB, gains


@pytest.mark.parametrize("size", [(9, 13), (64, 33), (8, 120)])
@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_any_input_size_gives_the_size_of_the_card(
    card: ExpertCard, size: tuple[int, int], photos: list[FloatArray]
) -> None:
    photo = photos[0][100 : 100 + size[0], 60 : 60 + size[1]]
    bad = degrade(photo, card.task.degradation, np.random.default_rng(0), Severity.HIGH)[0]
    bad = bad if card.scale == 1 else photo
    result = restored(card, bad)
    assert result.shape == (size[0] * card.scale, size[1] * card.scale, 3)
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_a_constant_image_stays_constant(card: ExpertCard, value: float) -> None:
    result = restored(card, np.full((40, 48, 3), value, np.float32))
    assert np.isfinite(result).all()
    assert np.ptp(result) < 0.02


@pytest.mark.parametrize("shape", [(8, 3000, 3), (3000, 8, 3), (8, 8, 3)], ids=str)
@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_thin_and_small_images_are_restored(card: ExpertCard, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).random(shape, np.float32)
    assert np.isfinite(restored(card, noise)).all()


@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_results_are_deterministic(card: ExpertCard, photos: list[FloatArray]) -> None:
    bad = degrade(photos[1][:96, :112], card.task.degradation, np.random.default_rng(3), Severity.LOW)[0]
    assert restored(card, bad).tobytes() == restored(card, bad).tobytes()


@pytest.mark.parametrize(
    "card", [card for card in CLASSICAL if card.task in COLOUR_KEEPING], ids=lambda card: card.name
)
def test_the_mean_colour_is_preserved(card: ExpertCard, photos: list[FloatArray]) -> None:
    for photo in photos[:2]:
        bad = next(degraded(card, photo)) if card.scale == 1 else downscale(photo, card.scale)
        drift = restored(card, bad).mean((0, 1)) - bad.mean((0, 1))
        assert np.abs(drift).max() < 0.03


@pytest.mark.parametrize(
    "card", [card for card in SAME_SIZE if card.task is Task.BRIGHTENING], ids=lambda card: card.name
)
def test_brightening_raises_the_mean(card: ExpertCard, photos: list[FloatArray]) -> None:
    dark = degrade(photos[0], Degradation.DARK, np.random.default_rng(0), Severity.VERY_HIGH)[0]
    assert restored(card, dark).mean() > dark.mean() + 0.02


@pytest.mark.parametrize("card", CLASSICAL, ids=lambda card: card.name)
def test_an_expert_cancelled_beforehand_does_nothing(card: ExpertCard, photos: list[FloatArray]) -> None:
    token = ProgressToken()
    token.cancel()
    with pytest.raises(Cancelled):
        restored(card, photos[0], token)


@pytest.mark.parametrize("name", ["nlm_denoise", "wavelet_denoise", "tv_denoise", "nlm_deblock", "shifted_jpeg"])
def test_a_running_expert_can_be_cancelled(name: str, photos: list[FloatArray]) -> None:
    card = default_catalogue().card(name)
    large = np.tile(next(degraded(card, photos[0])), (3, 3, 1))
    fractions: list[float] = []

    def stop_in_the_middle(fraction: float) -> None:
        fractions.append(fraction)
        if 0 < fraction < 1:
            token.cancel()

    token = ProgressToken(stop_in_the_middle)
    with pytest.raises(Cancelled):
        restored(card, large, token)
    assert fractions[-1] < 1


@pytest.mark.parametrize("card", SAME_SIZE, ids=lambda card: card.name)
def test_an_image_with_a_constant_channel_is_processed(card: ExpertCard, photos: list[FloatArray]) -> None:
    """A constant channel has no noise, no edges and no spectrum."""
    without_blue = photos[0][:64, :80] * np.array([1, 1, 0], np.float32)
    assert np.isfinite(restored(card, without_blue)).all()


@pytest.mark.parametrize("card", ENLARGING, ids=lambda card: card.name)
def test_upscaling_is_better_than_nearest_neighbour(card: ExpertCard, photos: list[FloatArray]) -> None:
    for photo in photos:
        small = downscale(photo, card.scale)
        repeated = small.repeat(card.scale, 0).repeat(card.scale, 1)
        assert psnr(restored(card, small), photo) > psnr(repeated, photo) + 0.3


@pytest.mark.parametrize(
    "card", [card for card in ENLARGING if card.name.startswith("back_projection")], ids=lambda card: card.name
)
def test_a_back_projection_result_downscales_to_its_input(card: ExpertCard, photos: list[FloatArray]) -> None:
    small = downscale(photos[0], card.scale)
    again = to_numpy(resize(from_numpy(restored(card, small)), *small.shape[:2]))
    plain = cv2.resize(small, None, fx=card.scale, fy=card.scale, interpolation=cv2.INTER_CUBIC)
    plain_again = to_numpy(resize(from_numpy(plain), *small.shape[:2]))
    assert psnr(again, small) > max(40, psnr(plain_again, small) + 6)
    assert psnr(restored(card, small), photos[0]) > psnr(np.clip(plain, 0, 1), photos[0])


@pytest.mark.parametrize("name", ["tv_motion", "blind_deconvolution", "tv_defocus", "wiener_defocus"])
def test_borders_are_deblurred_too(name: str) -> None:
    photo = to_float(data.coffee()[:400, :400])
    straight = default_catalogue().card(name).task is Task.MOTION_DEBLURRING
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)).astype(np.float32)
    kernel = line_kernel(15, 40) if straight else disk
    bad = to_float(to_uint8(np.ascontiguousarray(convolve(photo, kernel / kernel.sum())[40:360, 40:360])))
    result, truth = restored(default_catalogue().card(name), bad), photo[40:360, 40:360]
    border = np.pad(np.zeros((288, 288), bool), 16, constant_values=True)
    assert psnr(result[border], truth[border]) > psnr(bad[border], truth[border]) + 0.5


@pytest.mark.parametrize(
    ("photo", "length", "seed"), [("coffee", 14, 0), ("coffee", 10, 5), ("astronaut", 20, 6), ("astronaut", 16, 0)]
)
def test_the_kernel_of_camera_shake_is_estimated(photo: str, length: float, seed: int) -> None:
    """By both kernel estimates; by edge prediction only; by the L0 gradient prior only; without a tail."""
    truth = to_float({"coffee": data.coffee()[:400, 100:500], "astronaut": data.astronaut()[50:450, 50:450]}[photo])
    bad = to_float(to_uint8(convolve(truth, path_kernel(length, np.random.default_rng(seed)))))
    assert psnr(restored(default_catalogue().card("blind_motion"), bad), truth) > psnr(bad, truth) + 3


@pytest.mark.parametrize(("sigma", "angle"), [(4, 30), (6, 120)])
def test_a_half_gaussian_blur_and_its_shift_are_removed(sigma: float, angle: float) -> None:
    truth = to_float(data.coffee()[:400, 100:500])
    bad = to_float(to_uint8(convolve(truth, half_gaussian_kernel(sigma, angle))))
    assert psnr(restored(default_catalogue().card("blind_motion"), bad), truth) > psnr(bad, truth) + 5


@pytest.mark.parametrize(("length", "angle", "quality"), [(7, 60, 20), (9, 25, 15)])
def test_a_wide_kernel_that_fades_by_chance_gets_no_tail(length: float, angle: float, quality: int) -> None:
    """After compression a short line appears wide; a tail would shift the image."""
    truth = to_float(data.chelsea()[:320, :320])
    bad = jpeg(np.clip(convolve(truth, line_kernel(length, angle)), 0, 1), quality)
    _, has_tail = free_kernel(luma(bad), ProgressToken())
    assert not has_tail


def test_a_constant_image_has_no_kernel() -> None:
    kernel, _ = free_kernel(np.full((300, 280), 0.5, np.float32), ProgressToken())
    assert kernel.max() == kernel.sum() == 1
