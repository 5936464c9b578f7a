"""Synthesised degradations: what they do to a real photo, and what they say about it."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from imaging.convert import FloatArray, to_float
from toolbox.classical.streaks import half_gaussian_kernel, line_kernel
from toolbox.tasks import Degradation, Severity
from training.data.degradations import (
    MAKERS,
    MIO100,
    convolve,
    degrade,
    disk_kernel,
    downscale,
    gaussian_noise,
    jpeg,
    mix,
    path_kernel,
)

SAME_SIZE = [degradation for degradation in MAKERS if degradation is not Degradation.LOW_RESOLUTION]


@pytest.fixture(scope="module")
def photo() -> FloatArray:
    return to_float(data.chelsea()[40:168, 100:244])


def distance(a: FloatArray, b: FloatArray) -> float:
    return float(np.mean((a - b) ** 2))


def mean_distance(photo: FloatArray, degradation: Degradation, severity: Severity) -> float:
    return float(
        np.mean(
            [
                distance(photo, degrade(photo, degradation, np.random.default_rng(seed), severity)[0])
                for seed in range(12)
            ]
        )
    )


@pytest.mark.parametrize("degradation", MAKERS)
def test_a_degraded_picture_is_float32_in_range_and_differs(photo: FloatArray, degradation: Degradation) -> None:
    degraded, applied = degrade(photo, degradation, np.random.default_rng(1))
    assert degraded.dtype == np.float32
    assert degraded.min() >= 0
    assert degraded.max() <= 1
    assert degraded.shape != photo.shape or distance(degraded, photo) > 1e-6
    assert applied.degradation is degradation
    assert applied.parameters


@pytest.mark.parametrize("degradation", SAME_SIZE)
def test_all_but_low_resolution_keep_the_size_and_the_input(photo: FloatArray, degradation: Degradation) -> None:
    before = photo.copy()
    degraded, _ = degrade(photo, degradation, np.random.default_rng(2))
    assert degraded.shape == photo.shape
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("degradation", MAKERS)
def test_the_same_seed_gives_the_same_picture_and_labels(photo: FloatArray, degradation: Degradation) -> None:
    first, first_label = degrade(photo, degradation, np.random.default_rng(3))
    second, second_label = degrade(photo, degradation, np.random.default_rng(3))
    np.testing.assert_array_equal(first, second)
    assert first_label == second_label


@pytest.mark.parametrize("degradation", SAME_SIZE)
def test_a_higher_severity_does_more_harm(photo: FloatArray, degradation: Degradation) -> None:
    harm = [mean_distance(photo, degradation, severity) for severity in Severity]
    assert harm == sorted(harm)
    assert harm[-1] > 3 * harm[0]


@pytest.mark.parametrize(
    ("severity", "factor"), [(Severity.VERY_LOW, 2), (Severity.LOW, 2), (Severity.MEDIUM, 4), (Severity.VERY_HIGH, 4)]
)
def test_low_resolution_is_twice_or_four_times_smaller(photo: FloatArray, severity: Severity, factor: int) -> None:
    small, applied = degrade(photo, Degradation.LOW_RESOLUTION, np.random.default_rng(0), severity)
    assert small.shape == (photo.shape[0] // factor, photo.shape[1] // factor, 3)
    assert applied.parameters["factor"] == factor


def test_severities_are_sampled_unless_given(photo: FloatArray) -> None:
    rng = np.random.default_rng(4)
    drawn = {degrade(photo, Degradation.DARK, rng)[1].severity for _ in range(60)}
    assert drawn == set(Severity)


def test_gaussian_noise_has_the_deviation_that_was_asked_for() -> None:
    grey = np.full((200, 200, 3), 0.5, np.float32)
    noisy = gaussian_noise(grey, np.random.default_rng(5), 25)
    assert float((noisy - grey).std()) * 255 == pytest.approx(25, rel=0.02)


def test_jpeg_of_lower_quality_is_further_from_the_photo(photo: FloatArray) -> None:
    assert distance(photo, jpeg(photo, 10)) > distance(photo, jpeg(photo, 40)) > distance(photo, jpeg(photo, 90)) > 0


@pytest.mark.parametrize("seed", range(5))
def test_blur_kernels_sum_to_one_and_do_not_shift(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length, angle = rng.uniform(3, 27), rng.uniform(0, 180)
    for kernel in (line_kernel(length, angle, taper=0.5), path_kernel(length, rng), disk_kernel(rng.uniform(1, 7))):
        reach = kernel.shape[0] // 2
        rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        assert kernel.shape[0] == kernel.shape[1] == 2 * reach + 1
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert (kernel * rows).sum() == pytest.approx(0, abs=1e-3)
        assert (kernel * columns).sum() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("angle", [0, 50, 90, 200])
def test_half_a_gaussian_begins_at_the_pixel_and_fades_along_its_angle(angle: float) -> None:
    sigma = 5.0
    kernel = half_gaussian_kernel(sigma, angle)
    reach = kernel.shape[0] // 2
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = columns * np.cos(np.radians(angle)) + rows * np.sin(np.radians(angle))
    across = rows * np.cos(np.radians(angle)) - columns * np.sin(np.radians(angle))
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel[along < -1].sum() == 0
    assert kernel[np.abs(across) > 1.5].sum() == 0
    # The mean of a half-normal distribution.
    assert (kernel * along).sum() == pytest.approx(sigma * np.sqrt(2 / np.pi), abs=0.2)
    assert (kernel * along**2).sum() == pytest.approx(sigma**2, rel=0.06)


def test_motion_is_a_line_half_a_gaussian_or_a_path(photo: FloatArray) -> None:
    drawn = [degrade(photo, Degradation.MOTION_BLUR, np.random.default_rng(seed))[1] for seed in range(60)]
    assert {applied.parameters["kind"] for applied in drawn} == {"line", "half_gaussian", "path"}
    angles = [float(one.parameters["angle_degrees"]) for one in drawn if one.parameters["kind"] == "half_gaussian"]
    assert max(angles) > 180


def test_a_horizontal_line_blurs_along_rows_only() -> None:
    stripes = np.zeros((32, 32, 3), np.float32)
    stripes[::4] = 1
    blurred = convolve(stripes, line_kernel(9, 0))
    np.testing.assert_allclose(blurred, stripes, atol=1e-5)
    assert distance(convolve(stripes, line_kernel(9, 90)), stripes) > 0.05


@pytest.mark.parametrize("seed", range(5))
def test_haze_pulls_every_pixel_towards_the_air_light(photo: FloatArray, seed: int) -> None:
    hazy, applied = degrade(photo, Degradation.HAZE, np.random.default_rng(seed), Severity.HIGH)
    air = float(applied.parameters["air"])
    assert np.abs(hazy - air).mean() < 0.9 * np.abs(photo - air).mean()


@pytest.mark.parametrize("seed", range(5))
def test_rain_only_adds_light(photo: FloatArray, seed: int) -> None:
    rainy, _ = degrade(photo, Degradation.RAIN, np.random.default_rng(seed), Severity.HIGH)
    assert (rainy >= photo - 1e-6).all()
    assert (rainy - photo).max() > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_dark_is_darker(photo: FloatArray, seed: int) -> None:
    dark, _ = degrade(photo, Degradation.DARK, np.random.default_rng(seed), Severity.HIGH)
    assert dark.mean() < 0.8 * photo.mean()


@pytest.mark.parametrize("kind", ["bicubic", "area", "lanczos"])
def test_every_way_of_downscaling_keeps_the_mean(photo: FloatArray, kind: str) -> None:
    assert downscale(photo, 4, kind).mean() == pytest.approx(photo.mean(), abs=0.01)


def test_a_mixture_is_its_degradations_one_after_the_other(photo: FloatArray) -> None:
    mixed, applied = mix(photo, (Degradation.RAIN, Degradation.HAZE), np.random.default_rng(9))
    rng = np.random.default_rng(9)
    rainy, rain = degrade(photo, Degradation.RAIN, rng)
    both, haze = degrade(rainy, Degradation.HAZE, rng)
    np.testing.assert_array_equal(mixed, both)
    assert applied == (rain, haze)


def test_a_mixture_takes_the_severities_that_are_given(photo: FloatArray) -> None:
    wanted = (Severity.VERY_LOW, Severity.VERY_HIGH)
    _, applied = mix(photo, (Degradation.DARK, Degradation.NOISE), np.random.default_rng(10), wanted)
    assert tuple(one.severity for one in applied) == wanted


def test_the_sixteen_combinations_of_mio100_have_two_or_three_degradations() -> None:
    assert len(set(MIO100)) == 16
    assert [len(combination) for combination in MIO100] == [2] * 12 + [3] * 4


def test_the_combinations_are_in_their_published_order() -> None:
    """AgenticIR (arXiv 2410.17809): groups A, B and C."""
    published = """
        rain+haze, motion blur+low resolution, dark+noise, defocus blur+jpeg artifact,
        noise+jpeg artifact, rain+low resolution, motion blur+dark, defocus blur+haze,
        motion blur+jpeg artifact, haze+noise, defocus blur+low resolution, rain+dark,
        haze+motion blur+low resolution, rain+noise+low resolution,
        dark+defocus blur+jpeg artifact, motion blur+defocus blur+noise
    """
    names = ["+".join(one.replace("_", " ") for one in combination) for combination in MIO100]
    assert names == [name.strip() for name in published.split(",")]


LABELS = {
    Degradation.NOISE: {"kind", "sigma_255"},
    Degradation.JPEG_ARTIFACT: {"quality"},
    Degradation.MOTION_BLUR: {"kind", "angle_degrees"},
    Degradation.DEFOCUS_BLUR: {"kind"},
    Degradation.HAZE: {"beta", "air", "depth"},
    Degradation.RAIN: {"amount", "length_px", "angle_degrees"},
    Degradation.DARK: {"kind", "amount", "sigma_255"},
    Degradation.LOW_RESOLUTION: {"factor", "kind"},
}


@pytest.mark.parametrize("degradation", MAKERS)
def test_the_labels_say_all_that_was_done(photo: FloatArray, degradation: Degradation) -> None:
    for seed in range(12):
        _, applied = degrade(photo, degradation, np.random.default_rng(seed))
        assert LABELS[degradation] <= set(applied.parameters)
        if degradation is Degradation.DEFOCUS_BLUR:
            assert ("sigma_px" if applied.parameters["kind"] == "gaussian" else "radius_px") in applied.parameters
        if degradation is Degradation.MOTION_BLUR:
            half = applied.parameters["kind"] == "half_gaussian"
            assert ("sigma_px" if half else "length_px") in applied.parameters
        if applied.parameters.get("kind") in ("poisson", "sensor"):
            assert "peak" in applied.parameters
