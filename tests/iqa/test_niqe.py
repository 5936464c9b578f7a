"""NIQE follows the published code, ranks real damage, and is defined for small pictures."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.special import gamma

from imaging.convert import FloatArray
from imaging.image import Image
from iqa.errors import ImageTooSmall
from iqa.luma import luma_255
from iqa.metrics.niqe import WORST, NiqeModel, block_features, default_model, niqe, niqe_of

Picture = Callable[[FloatArray], Image]


def textbook_niqe(grey: FloatArray, model: NiqeModel) -> float:
    """The MATLAB release, block by block and moment by moment, in float64."""
    grey = grey[: grey.shape[0] // 96 * 96, : grey.shape[1] // 96 * 96].astype(np.float64)
    per_scale = []
    for block in (96, 48):
        position = np.arange(-3, 4)
        window = np.exp(-(position**2) / (2 * (7 / 6) ** 2))
        window /= window.sum()

        def blur(plane: FloatArray, window: FloatArray = window) -> FloatArray:
            return correlate1d(correlate1d(plane, window, 0, mode="nearest"), window, 1, mode="nearest")

        mean = blur(grey)
        normalised = (grey - mean) / (np.sqrt(np.abs(blur(grey**2) - mean**2)) + 1)
        rows = []
        for top in range(0, grey.shape[0], block):
            for left in range(0, grey.shape[1], block):
                patch = normalised[top : top + block, left : left + block]
                shape, left_scale, right_scale = textbook_fit(patch.ravel())
                row = [shape, (left_scale + right_scale) / 2]
                for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    shape, left_scale, right_scale = textbook_fit((patch * np.roll(patch, shift, (0, 1))).ravel())
                    mean_of_product = (right_scale - left_scale) * gamma(2 / shape) / gamma(1 / shape)
                    row += [shape, mean_of_product, left_scale, right_scale]
                rows.append(row)
        per_scale.append(rows)
        grey = matlab_half(grey)
    features = np.hstack(per_scale)
    offset = model.mean - features.mean(axis=0)
    return float(np.sqrt(offset @ np.linalg.pinv((model.covariance + np.cov(features.T)) / 2) @ offset))


def textbook_fit(values: FloatArray) -> tuple[float, float, float]:
    shapes = np.arange(0.2, 10.001, 0.001)
    ratio = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left = np.sqrt(np.mean(values[values < 0] ** 2))
    right = np.sqrt(np.mean(values[values > 0] ** 2))
    skew = left / right
    moment = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    moment *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = shapes[np.argmin((ratio - moment) ** 2)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return float(shape), float(left * scale), float(right * scale)


def matlab_half(grey: FloatArray) -> FloatArray:
    """imresize(grey, 0.5): each output pixel by its own sum over a stretched cubic, borders mirrored."""
    for axis in (0, 1):
        size = grey.shape[axis]
        centre = 2 * np.arange(size // 2) + 0.5
        taps = np.floor(centre)[:, None].astype(int) + np.arange(-4, 6)
        distance = np.abs(centre[:, None] - taps) / 2
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weights = np.where(distance <= 1, near, np.where(distance <= 2, far, 0))
        weights /= weights.sum(axis=1, keepdims=True)
        mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])[taps % (2 * size)]
        rows = np.moveaxis(grey, axis, 0)
        grey = np.moveaxis(np.einsum("ot,ot...->o...", weights, rows[mirrored]), 0, axis)
    return grey


@pytest.fixture(scope="module")
def foreign_model() -> NiqeModel:
    """Parameters that somebody else might supply: a well-conditioned Gaussian near natural ones."""
    rng = np.random.default_rng(5)
    spread = rng.normal(size=(36, 80)) / 9
    return NiqeModel(rng.uniform(0.1, 1.2, 36), spread @ spread.T)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_niqe_equals_a_textbook_implementation(
    name: str, photos: dict[str, FloatArray], picture: Picture, foreign_model: NiqeModel
) -> None:
    grey = luma_255(picture(photos[name]))
    for model in (default_model(), foreign_model):
        assert niqe_of([grey], model) == pytest.approx(textbook_niqe(grey, model), rel=2e-3)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_good_photographs_score_low(name: str, photos: dict[str, FloatArray], picture: Picture) -> None:
    assert niqe(picture(photos[name])) < 5


@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_niqe_rises_with_noise(name: str, photos: dict[str, FloatArray], picture: Picture) -> None:
    grain = np.random.default_rng(0).normal(size=photos[name].shape).astype(np.float32)
    scores = [niqe(picture(photos[name] + sigma / 255 * grain)) for sigma in (0, 10, 20, 35, 50)]
    assert scores == sorted(scores)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_niqe_rises_with_blur(name: str, photos: dict[str, FloatArray], picture: Picture) -> None:
    scores = [niqe(picture(gaussian_filter(photos[name], (sigma, sigma, 0)))) for sigma in (0, 1, 2, 3, 4)]
    assert scores == sorted(scores)


def test_niqe_rises_with_compression(photos: dict[str, FloatArray], picture: Picture) -> None:
    pixels = (photos["astronaut"] * 255).astype(np.uint8)

    def compressed(quality: int) -> Image:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return picture(cv2.imdecode(data, cv2.IMREAD_COLOR).astype(np.float32) / 255)

    scores = [niqe(compressed(quality)) for quality in (90, 40, 20, 8)]
    assert scores == sorted(scores)


def test_mirroring_and_half_turns_hardly_change_niqe(photos: dict[str, FloatArray], picture: Picture) -> None:
    pixels = photos["astronaut"][:480, :480]
    score = niqe(picture(pixels))
    for other in (pixels[:, ::-1], pixels[::-1, ::-1], pixels.swapaxes(0, 1)):
        assert niqe(picture(np.ascontiguousarray(other))) == pytest.approx(score, rel=0.12)


def test_incomplete_blocks_do_not_count(photos: dict[str, FloatArray], picture: Picture) -> None:
    pixels = photos["coffee"][:288, :384].copy()
    wider = np.concatenate([pixels, np.zeros((288, 40, 3), np.float32)], axis=1)
    assert niqe(picture(wider)) == niqe(picture(pixels))


def test_patches_of_a_picture_pool_their_blocks(photos: dict[str, FloatArray], picture: Picture) -> None:
    grey = luma_255(picture(photos["astronaut"]))[:480, :480]
    patches = [grey[:192], grey[192:384]]
    assert niqe_of(patches) == pytest.approx(niqe_of([grey[:384]]), rel=0.05)


@pytest.mark.parametrize("side", [64, 100, 150, 191, 192])
def test_niqe_of_small_pictures_is_defined_and_sees_noise(
    side: int, photos: dict[str, FloatArray], picture: Picture
) -> None:
    pixels = photos["astronaut"][100 : 100 + side, 180 : 180 + side]
    grain = np.random.default_rng(1).normal(0, 0.15, pixels.shape).astype(np.float32)
    assert 0 < niqe(picture(pixels)) < niqe(picture(pixels + grain)) < WORST


def test_small_pictures_are_cut_into_four_blocks() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.float32)
    assert len(block_features(grey)[0]) == 4


def test_a_picture_below_32_pixels_is_refused(picture: Picture) -> None:
    with pytest.raises(ImageTooSmall, match="40x31"):
        niqe(picture(np.zeros((31, 40, 3), np.float32)))


def test_a_picture_without_texture_gets_the_worst_score(picture: Picture) -> None:
    assert niqe(picture(np.full((200, 200, 3), 0.5, np.float32))) == WORST


def test_block_rows_in_chunks_give_the_result_of_the_whole(photo: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = niqe_of([luma_255(photo)])
    monkeypatch.setattr("iqa.metrics.niqe.CHUNK_PIXELS", 2 * 96 * 512)
    assert niqe(photo) == pytest.approx(whole, rel=1e-9)
