"""PSNR and SSIM agree with scikit-image; sizes are checked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from imaging.convert import FloatArray, from_numpy
from imaging.image import Image
from iqa.errors import ImageTooSmall, SizesDiffer
from iqa.metric import default_metrics
from iqa.metrics.psnr import psnr, psnr_y
from iqa.metrics.ssim import ssim, ssim_y

SIZES = [(11, 11), (17, 64), (64, 17), (128, 96), (301, 203)]
WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
FULL = [metric for metric in default_metrics().values() if metric.reference == "full"]


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def pair(request: pytest.FixtureRequest, photos: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    height, width = request.param
    reference = photos["coffee"][50 : 50 + height, 80 : 80 + width]
    noise = np.random.default_rng(height).normal(0, 0.06, reference.shape)
    return np.clip(reference * 0.9 + noise, 0, 1).astype(np.float32), reference


def images(pair: tuple[FloatArray, FloatArray]) -> tuple[Image, Image]:
    return Image(from_numpy(pair[0])), Image(from_numpy(pair[1]))


def y_of(rgb: FloatArray) -> FloatArray:
    return (rgb2ycbcr(rgb)[..., 0] / 255).astype(np.float32)


def test_psnr_equals_scikit_image(pair: tuple[FloatArray, FloatArray]) -> None:
    assert psnr(*images(pair)) == pytest.approx(peak_signal_noise_ratio(pair[1], pair[0], data_range=1), abs=1e-3)


def test_psnr_of_luma_equals_scikit_image_on_studio_range_y(pair: tuple[FloatArray, FloatArray]) -> None:
    expected = peak_signal_noise_ratio(y_of(pair[1]), y_of(pair[0]), data_range=1)
    assert psnr_y(*images(pair)) == pytest.approx(expected, abs=1e-3)


def test_ssim_equals_scikit_image(pair: tuple[FloatArray, FloatArray]) -> None:
    expected = structural_similarity(pair[1], pair[0], channel_axis=2, **WANG)
    assert ssim(*images(pair)) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_luma_equals_scikit_image_on_studio_range_y(pair: tuple[FloatArray, FloatArray]) -> None:
    expected = structural_similarity(y_of(pair[1]), y_of(pair[0]), **WANG)
    assert ssim_y(*images(pair)) == pytest.approx(expected, abs=1e-4)


def test_cropping_is_measuring_the_inside(photos: dict[str, FloatArray]) -> None:
    reference = photos["chelsea"][:90, :120]
    image = reference.copy()
    image[:4] = 0
    inside = images((image[4:-4, 4:-4], reference[4:-4, 4:-4]))
    assert psnr_y(*images((image, reference)), crop=4) == pytest.approx(psnr_y(*inside), abs=1e-6)
    assert psnr_y(*images((image, reference))) < psnr_y(*inside)


@pytest.mark.parametrize("metric", FULL, ids=lambda metric: metric.name)
def test_an_identical_picture_gets_the_best_value(metric, photos: dict[str, FloatArray]) -> None:  # noqa: ANN001
    image = Image(from_numpy(photos["rocket"]))
    assert metric.measure(image, image) == pytest.approx(metric.range[metric.higher_is_better])


@pytest.mark.parametrize("metric", FULL, ids=lambda metric: metric.name)
def test_pictures_of_different_sizes_are_refused_with_both_sizes(metric, photos: dict[str, FloatArray]) -> None:  # noqa: ANN001
    image = Image(from_numpy(photos["coffee"]))
    with pytest.raises(SizesDiffer, match=r"600x400.*300x400"):
        metric.measure(image, Image(image.pixels[:, :, :300]))


@pytest.mark.parametrize("measure", [ssim, ssim_y])
def test_a_picture_below_the_window_is_refused(measure: Callable[..., float]) -> None:
    image = Image(from_numpy(np.zeros((10, 40, 3))))
    with pytest.raises(ImageTooSmall, match="40x10"):
        measure(image, image)


def test_a_crop_that_leaves_nothing_is_refused() -> None:
    image = Image(from_numpy(np.zeros((10, 40, 3))))
    with pytest.raises(ImageTooSmall):
        psnr_y(image, image, crop=5)
