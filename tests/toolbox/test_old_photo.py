"""Old photos: only scratches are inpainted, faded tones are stretched, sepia becomes grey, colours are kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from imaging.convert import FloatArray, to_float
from imaging.progress import ProgressToken
from toolbox.classical.old_photo import scratch_inpaint, scratch_mask, signs_of_age, tone_restore

SCRATCHES = (((40, 30), (75, 480)), ((300, 20), (250, 470)), ((470, 60), (480, 420)))


@pytest.fixture(scope="module")
def picture() -> FloatArray:
    """An astronaut."""
    return to_float(skimage.data.astronaut())


@pytest.fixture(scope="module")
def scratched(picture: FloatArray) -> FloatArray:
    """The same image with white scratches of two pixels."""
    pixels = picture.copy()
    for start, end in SCRATCHES:
        cv2.line(pixels, start, end, (0.97, 0.97, 0.97), 2, cv2.LINE_AA)
    return pixels


def distance(one: FloatArray, other: FloatArray) -> float:
    """Mean squared error."""
    return float(np.square(one - other).mean())


def test_only_scratches_are_inpainted(picture: FloatArray, scratched: FloatArray) -> None:
    filled = scratch_inpaint(scratched, ProgressToken())
    assert distance(filled, picture) < 0.6 * distance(scratched, picture)
    mask = scratch_mask(scratched)
    assert mask.mean() < 0.05
    assert np.array_equal(filled[~mask], scratched[~mask])


def test_an_image_without_scratches_stays_unchanged(picture: FloatArray) -> None:
    assert np.array_equal(scratch_inpaint(picture, ProgressToken()), picture)
    assert signs_of_age(picture).scratched == 0


def test_scratches_are_found_in_a_large_scan(scratched: FloatArray) -> None:
    scan = np.clip(cv2.resize(scratched, (2048, 2048), interpolation=cv2.INTER_CUBIC), 0, 1)
    mask = scratch_mask(scan)
    assert mask.shape == (2048, 2048)
    assert mask.any()


def test_thin_scratches_are_found_in_small_prints_of_any_tone(picture: FloatArray) -> None:
    small = cv2.resize(picture.mean(2), (256, 256), interpolation=cv2.INTER_AREA)[:, :, None]
    found = []
    for tone in ([1, 1, 1], [1.0, 0.86, 0.68]):
        scan = np.clip(0.85 * small * np.array(tone, np.float32), 0, 1)
        for start, end in SCRATCHES:
            middle = [(x // 2, y // 2) for x, y in (start, end)]
            cv2.line(scan, *middle, (0.97, 0.97, 0.94), 2)
        found.append(scratch_mask(scan).mean())
    grey, sepia = found
    assert grey > 0
    assert sepia > 0.7 * grey


def test_sepia_and_grey_images_are_monochrome(picture: FloatArray) -> None:
    grey = np.repeat(picture.mean(2, keepdims=True), 3, axis=2)
    sepia = np.clip(grey * np.array([1.0, 0.86, 0.68], np.float32), 0, 1)
    assert [signs_of_age(one).monochrome for one in (grey, sepia, picture)] == [True, True, False]
    assert signs_of_age(sepia).toned > 0 == signs_of_age(grey).toned


def test_sepia_becomes_grey(picture: FloatArray) -> None:
    sepia = picture.mean(2, keepdims=True) * np.array([1.0, 0.86, 0.68], np.float32)
    assert np.ptp(tone_restore(sepia, ProgressToken()), axis=2).max() < 1e-5


def test_faded_tones_are_stretched_and_colours_kept(picture: FloatArray) -> None:
    faded = 0.3 + 0.4 * picture
    restored = tone_restore(faded, ProgressToken())
    assert np.ptp(restored) > np.ptp(faded)
    assert distance(restored, picture) < distance(faded, picture)
    assert np.ptp(restored, axis=2).mean() > np.ptp(faded, axis=2).mean()


def test_a_full_tonal_range_stays_unchanged(picture: FloatArray) -> None:
    assert np.array_equal(tone_restore(picture, ProgressToken()), picture)


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 900, 3), (64, 64, 3)])
def test_pictures_of_any_shape_and_of_uniform_tone(shape: tuple[int, int, int]) -> None:
    flat = np.full(shape, 0.5, np.float32)
    for expert in (scratch_inpaint, tone_restore):
        result = expert(flat, ProgressToken())
        assert result.shape == shape
        assert np.isfinite(result).all()
