"""What a file says of its own compression, beside what is seen of it."""

from __future__ import annotations

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from skimage import data

from agent.perception import measure, suggested_profile
from imaging.convert import from_numpy
from imaging.image import Image
from imaging.reading import read_image
from iqa.content import Content, ContentKind
from toolbox.tasks import Degradation, Severity

SMOOTH = np.broadcast_to(np.linspace(40, 200, 160, dtype=np.uint8)[:, None, None], (160, 200, 3))


def jpeg(pixels: np.ndarray, quality: int) -> Image:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return read_image(stream.getvalue())


@pytest.mark.parametrize(("quality", "least"), [(10, Severity.VERY_HIGH), (30, Severity.HIGH), (40, Severity.MEDIUM)])
@pytest.mark.parametrize("pixels", [SMOOTH, data.coffee()[:256, :256]], ids=["nothing to see", "photo"])
def test_compression_is_found_from_the_quantization_of_the_file(
    pixels: np.ndarray, quality: int, least: Severity
) -> None:
    found = measure(jpeg(pixels, quality)).findings[Degradation.JPEG_ARTIFACT]
    assert found.severity >= least
    assert found.measurements["stated_quantization_relative_to_q50"] > 1


def test_a_good_jpeg_does_not_hide_what_is_seen_in_it() -> None:
    bad = np.asarray(
        PIL.Image.fromarray((jpeg(data.coffee()[:256, :256], 8).pixels.permute(1, 2, 0) * 255).byte().numpy())
    )
    again = measure(jpeg(bad, 97)).findings[Degradation.JPEG_ARTIFACT]
    assert again.severity >= Severity.HIGH
    assert again.measurements["stated_quantization_relative_to_q50"] < 0.1


def test_changed_pixels_lose_the_quantization_of_the_file() -> None:
    image = jpeg(SMOOTH, 10)
    changed = image.with_pixels(image.pixels)
    assert changed.quantization_relative_to_q50 is None
    assert (
        "stated_quantization_relative_to_q50" not in measure(changed).findings[Degradation.JPEG_ARTIFACT].measurements
    )


def test_a_portrait_and_a_dark_photo_are_not_classified_as_aerial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.perception.content_of", lambda features: Content(ContentKind.AERIAL, 0.9))
    photo = data.astronaut()
    for pixels, kind in (
        (photo[:256, 96:352], ContentKind.PHOTO),
        (data.coffee()[:256, :256] // 6, ContentKind.PHOTO),
        (data.coffee()[:256, :256], ContentKind.AERIAL),
    ):
        perception = measure(jpeg(pixels, 95))
        assert perception.content is kind
        assert suggested_profile(perception) == ("Aer4K-F" if kind is ContentKind.AERIAL else "default")


def test_noise_that_a_camera_has_smoothed_is_found() -> None:
    """It is not white, and nearly black areas have none."""
    photo, rng = data.coffee()[:320, :320] / 255.0, np.random.default_rng(0)
    noise = np.stack([cv2.GaussianBlur(rng.normal(0, 0.14, photo.shape[:2]), (0, 0), 0.8) for _ in range(3)], axis=2)
    for pixels, is_noisy in ((0.5 * photo, False), (np.clip(0.5 * photo + noise - 0.06, 0, 1), True)):
        perception = measure(Image(from_numpy(pixels.astype(np.float32))))
        assert perception.findings[Degradation.NOISE].present == is_noisy
