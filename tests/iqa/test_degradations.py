"""The estimator: each degradation of a real photo is found, nothing is found in a clean one, at any size."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from imaging.convert import FloatArray, from_numpy
from imaging.image import Image
from iqa.degradations import REPORTED, Estimate, estimates_from
from iqa.features import extract_features
from toolbox.tasks import Degradation, Severity

Picture = Callable[[FloatArray], Image]
Degrade = Callable[[FloatArray, np.random.Generator], FloatArray]
ANSWERED = {
    Degradation.NOISE,
    Degradation.MOTION_BLUR,
    Degradation.DEFOCUS_BLUR,
    Degradation.HAZE,
    Degradation.RAIN,
    Degradation.DARK,
    Degradation.JPEG_ARTIFACT,
    Degradation.LOW_RESOLUTION,
}


def estimates_of(image: Image) -> dict[Degradation, Estimate]:
    return estimates_from(extract_features(image))


def jpeg(pixels: FloatArray, quality: int) -> FloatArray:
    levels = (np.clip(pixels[..., ::-1], 0, 1) * 255).round().astype(np.uint8)
    data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255


def noisy(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    return pixels + rng.normal(0, 25 / 255, pixels.shape).astype(np.float32)


def moved(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    kernel = cv2.warpAffine(
        np.pad(np.ones((1, 15), np.float32), ((10, 10), (3, 3))), cv2.getRotationMatrix2D((10, 10), 35, 1), (21, 21)
    )
    return cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def defocused(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)).astype(np.float32)
    return cv2.filter2D(pixels, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT)


def hazy(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    haze = np.linspace(0.8, 0.5, len(pixels), dtype=np.float32)[:, None, None]
    return pixels * (1 - haze) + 0.85 * haze


def rainy(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    drops = (rng.random(pixels.shape[:2]) < 0.004).astype(np.float32)
    lean = cv2.warpAffine(
        np.pad(np.ones((25, 1), np.float32), ((3, 3), (15, 15))), cv2.getRotationMatrix2D((15, 15), 12, 1), (31, 31)
    )
    return pixels + 0.5 * cv2.GaussianBlur(cv2.filter2D(drops, -1, lean), (0, 0), 0.6)[..., None]


def dark(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    return pixels * 0.22


MAKERS: dict[Degradation, Degrade] = {
    Degradation.NOISE: noisy,
    Degradation.MOTION_BLUR: moved,
    Degradation.DEFOCUS_BLUR: defocused,
    Degradation.HAZE: hazy,
    Degradation.RAIN: rainy,
    Degradation.DARK: dark,
    Degradation.JPEG_ARTIFACT: lambda pixels, rng: jpeg(pixels, 25),
}
NAMES = ("astronaut", "coffee", "chelsea", "rocket")


def found(image: Image) -> set[Degradation]:
    return {kind for kind, estimate in estimates_of(image).items() if estimate.severity >= Severity.MEDIUM}


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_photo_is_clean(name: str, photos: dict[str, FloatArray], picture: Picture) -> None:
    assert found(picture(photos[name])) == set()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_degradation_is_found(
    kind: Degradation, name: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    assert kind in found(picture(MAKERS[kind](photos[name], np.random.default_rng(4))))


@pytest.mark.parametrize("name", NAMES)
def test_noise_and_compression_cause_no_other_findings(
    name: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    for kind in (Degradation.NOISE, Degradation.JPEG_ARTIFACT):
        assert found(picture(MAKERS[kind](photos[name], np.random.default_rng(4)))) == {kind}


@pytest.mark.parametrize("name", NAMES)
def test_noise_and_compression_of_a_photo_made_four_times_smaller_are_both_found(
    name: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    large = cv2.resize(photos[name], (1024, 1024), interpolation=cv2.INTER_AREA)
    small = cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA)
    seen = found(picture(jpeg(noisy(small, np.random.default_rng(0)), 40)))
    assert {Degradation.NOISE, Degradation.JPEG_ARTIFACT, Degradation.LOW_RESOLUTION} <= seen


@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_rain_that_was_there_before_a_photo_was_made_a_thumbnail_is_mostly_found(
    name: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    def thumbnail(pixels: FloatArray) -> Image:
        return picture(cv2.resize(np.clip(pixels, 0, 1), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))

    share = 320 / max(photos[name].shape)
    photo = cv2.resize(photos[name], None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    drawn = [found(thumbnail(rainy(photo, np.random.default_rng(seed)))) for seed in range(8)]
    assert sum(Degradation.RAIN in seen for seen in drawn) > len(drawn) / 2
    assert Degradation.RAIN not in found(thumbnail(photo))


@pytest.mark.parametrize("offset", [(0, 3), (5, 1)])
def test_the_grid_of_a_cropped_jpeg_is_found(
    offset: tuple[int, int], photos: dict[str, FloatArray], picture: Picture
) -> None:
    cropped = jpeg(photos["coffee"], 30)[offset[0] :, offset[1] :]
    assert Degradation.JPEG_ARTIFACT in found(picture(cropped))


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
@pytest.mark.parametrize("share", [0.7, 1.3])
def test_a_jpeg_is_found_after_its_size_was_changed(
    share: float, name: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    sent_on = cv2.resize(jpeg(photos[name], 15), None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    estimate = estimates_of(picture(sent_on))[Degradation.JPEG_ARTIFACT]
    assert estimate.severity >= Severity.MEDIUM
    assert estimate.measurements["regrid_px"] == pytest.approx(8 * share, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_without_its_lightest_tones_is_found_dark(
    name: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    assert Degradation.DARK in found(picture((photos[name] - 0.25).clip(0, 1)))
    assert Degradation.DARK in found(picture(photos[name] * 0.4))


@pytest.mark.parametrize("kind", [Degradation.NOISE, Degradation.JPEG_ARTIFACT, Degradation.DEFOCUS_BLUR])
def test_the_level_rises_with_the_degradation(
    kind: Degradation, photos: dict[str, FloatArray], picture: Picture
) -> None:
    pixels, rng = photos["astronaut"], np.random.default_rng(0)
    grain = rng.normal(size=pixels.shape).astype(np.float32)
    steps = {
        Degradation.NOISE: [pixels + sigma / 255 * grain for sigma in (0, 8, 20, 50)],
        Degradation.JPEG_ARTIFACT: [jpeg(pixels, quality) for quality in (95, 60, 35, 10)],
        Degradation.DEFOCUS_BLUR: [cv2.GaussianBlur(pixels, (0, 0), sigma) for sigma in (0.1, 1, 2, 3.5)],
    }[kind]
    estimates = [estimates_of(picture(step))[kind] for step in steps]
    levels = [round(estimate.level, 1) for estimate in estimates]
    assert levels == sorted(levels)
    assert estimates[0].severity == Severity.VERY_LOW
    assert estimates[-1].severity >= Severity.HIGH


@pytest.mark.parametrize(
    ("long_side", "severity"),
    [(1500, "VERY_LOW"), (600, "LOW"), (320, "MEDIUM"), (200, "HIGH"), (100, "VERY_HIGH")],
)
def test_resolution_is_low_by_the_number_of_pixels(
    long_side: int, severity: str, photos: dict[str, FloatArray], picture: Picture
) -> None:
    pixels = np.tile(photos["coffee"], (3, 3, 1))[: long_side // 2, :long_side]
    assert estimates_of(picture(pixels))[Degradation.LOW_RESOLUTION].severity is Severity[severity]


def test_an_enlarged_picture_has_no_more_resolution_than_before(
    photos: dict[str, FloatArray], picture: Picture
) -> None:
    small = np.ascontiguousarray(photos["astronaut"][:, :400])
    large = cv2.resize(small, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    estimate = estimates_of(picture(large))[Degradation.LOW_RESOLUTION]
    assert estimate.measurements["long_side_px"] == 4 * max(small.shape)
    assert estimate.measurements["resolved_long_side_px"] == pytest.approx(max(small.shape), rel=0.5)
    assert estimate.severity > Severity.VERY_LOW


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (32, 32), (256, 256), (700, 1300)])
def test_every_size_gets_an_answer_about_everything(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).random((height, width, 3))
    estimates = estimates_of(Image(from_numpy(pixels)))
    assert set(estimates) == ANSWERED
    assert all(0 <= estimate.confidence <= 1 and 0 <= estimate.level <= 4 for estimate in estimates.values())


def test_a_picture_without_content_gets_an_answer() -> None:
    estimates = estimates_of(Image(from_numpy(np.zeros((300, 300, 3)))))
    assert estimates[Degradation.NOISE].severity == Severity.VERY_LOW
    assert estimates[Degradation.JPEG_ARTIFACT].severity == Severity.VERY_LOW


def test_an_estimate_names_the_measurements_with_its_unit(photos: dict[str, FloatArray], picture: Picture) -> None:
    estimate = estimates_of(picture(noisy(photos["coffee"], np.random.default_rng(0))))[Degradation.NOISE]
    assert isinstance(estimate, Estimate)
    # noise that is independent in R, G and B is 0.67 times as strong in luma
    assert estimate.measurements["noise_luma_1px_flat_sigma_255"] == pytest.approx(25 * 0.67, rel=0.35)
    assert tuple(estimate.measurements) == REPORTED[Degradation.NOISE]


@pytest.mark.parametrize("noise", [0, 3])
def test_a_uniform_wall_is_neither_dark_nor_hazy(noise: float) -> None:
    wall = np.array([150, 140, 130]) + np.random.default_rng(0).normal(0, 1, (300, 400, 3)) * noise
    found = estimates_of(Image(from_numpy((wall / 255).astype(np.float32))))
    assert max(found[kind].severity for kind in (Degradation.DARK, Degradation.HAZE)) is Severity.VERY_LOW
