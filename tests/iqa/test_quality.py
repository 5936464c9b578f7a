"""The quality score: 4KAgent's formula by hand, and a ranking of real damage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from imaging.convert import FloatArray
from imaging.image import Image
from iqa.errors import BadParameters
from iqa.features import extract_features
from iqa.metrics.niqe import niqe
from iqa.quality import Quality, combine, quality_of, rollback_threshold

Picture = Callable[[FloatArray], Image]
PUBLISHED = {"niqe": 4.2, "musiq": 61.0, "maniqa": 0.55, "clipiqa": 0.7, "hpsv2": 0.27}


def quality(image: Image) -> Quality:
    return quality_of(extract_features(image))


def test_with_all_of_4kagents_metrics_the_score_is_half_of_its_qs() -> None:
    qnr = (1 - 4.2 / 10) + 0.01 * 61.0 + 0.55 + 0.7
    assert combine(PUBLISHED) == pytest.approx((0.27 + qnr / 4) / 2)


def test_without_preference_the_score_is_a_quarter_of_qnr() -> None:
    values = {name: value for name, value in PUBLISHED.items() if name != "hpsv2"}
    assert combine(values) == pytest.approx((0.58 + 0.61 + 0.55 + 0.7) / 4)


def test_a_part_that_is_missing_leaves_its_weight_to_the_others() -> None:
    assert combine({"niqe": 4.2, "maniqa": 0.55}) == pytest.approx((0.58 + 0.55) / 2)


def test_niqe_alone_is_taken_from_10_to_0() -> None:
    assert combine({"niqe": 2.5}) == pytest.approx(0.75)
    assert combine({"niqe": 25.0}) == 0
    assert combine({"niqe": 0.0}) == 1


def test_our_own_metrics_do_not_count_beside_published_ones() -> None:
    assert combine(PUBLISHED | {"predicted_fidelity": 0.0}) == combine(PUBLISHED)


def test_our_own_metric_counts_beside_niqe() -> None:
    low, high = ({"niqe": 4.0, "predicted_fidelity": value} for value in (0.2, 0.9))
    assert combine(low) < combine(high)


def test_unknown_values_are_refused_by_name() -> None:
    with pytest.raises(BadParameters, match="topiq"):
        combine({"topiq": 0.5})


def test_the_score_is_the_combination_of_the_parts(photos: dict[str, FloatArray], picture: Picture) -> None:
    measured = quality(picture(photos["coffee"]))
    assert measured.score == combine(measured.parts)
    assert measured.parts["niqe"] == pytest.approx(niqe(picture(photos["coffee"])), rel=1e-3)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_damage_lowers_the_score(name: str, photos: dict[str, FloatArray], picture: Picture) -> None:
    pixels = photos[name]
    score = quality(picture(pixels)).score
    grain = np.random.default_rng(0).normal(size=pixels.shape).astype(np.float32)
    light, heavy = (quality(picture(pixels + sigma * grain)).score for sigma in (0.06, 0.16))
    soft, softer = (quality(picture(gaussian_filter(pixels, (sigma, sigma, 0)))).score for sigma in (1.5, 3.5))
    assert score > light > heavy
    assert score > soft > softer


def test_4kagents_thresholds_count_where_its_metrics_are_there() -> None:
    assert rollback_threshold(PUBLISHED) == 0.25
    assert rollback_threshold({"niqe": 4.0, "predicted_fidelity": 0.5, "hpsv2": 0.2}) == 0.12
    assert rollback_threshold({"niqe": 4.0, "predicted_fidelity": 0.5}) is None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 300), (64, 64)])
def test_every_size_has_a_score(height: int, width: int, picture: Picture) -> None:
    pixels = np.random.default_rng(0).random((height, width, 3)).astype(np.float32)
    assert 0 <= quality(picture(pixels)).score <= 1


def test_a_picture_without_content_has_a_score(picture: Picture) -> None:
    assert 0 <= quality(picture(np.zeros((80, 80, 3), np.float32))).score <= 1


def test_niqe_can_be_left_out_of_the_embedded_score_only(photos: dict[str, FloatArray], picture: Picture) -> None:
    features = extract_features(picture(photos["coffee"]))
    without = quality_of(features, with_niqe=False)
    assert without.score == pytest.approx(without.parts["predicted_fidelity"])
    assert without.parts == quality_of(features).parts
    published = {name: value for name, value in PUBLISHED.items() if name != "niqe"}
    assert quality_of(features, None, published, with_niqe=False) == quality_of(features, None, published)
