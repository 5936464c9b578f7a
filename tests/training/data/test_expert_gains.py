"""Cases of known gains: what is drawn, and what a repeated pass keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data

from tests.training.detail import finest_detail
from training.data.expert_gains import SHARES, SIDES, case_files, draw_case, load_case, measure_case


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    file = tmp_path / "astronaut.png"
    PIL.Image.fromarray(skimage.data.astronaut()).save(file)
    return [file]


def test_crops_of_large_sensors_are_soft_in_their_reference_too(photos: list[Path]) -> None:
    drawn = {
        origin: [draw_case(photos, [], np.random.default_rng(seed), origin) for seed in range(8)]
        for origin in ("full_resolution", "clean")
    }
    for case in drawn["full_resolution"]:
        assert case.picture.shape == case.reference.shape
        assert SIDES[0] <= case.picture.shape[0] < SIDES[1]
        assert case.labels["blur_px"] == case.labels["motion_px"] == case.labels["haze"] == 0
    soft, sharp = (np.mean([finest_detail(case.reference) for case in cases]) for cases in drawn.values())
    assert soft < 0.95 * sharp


@pytest.mark.parametrize("origin", [origin for origin in SHARES if origin != "real"])
def test_a_repeated_pass_keeps_the_cases_that_are_there(photos: list[Path], tmp_path: Path, origin: str) -> None:
    def run() -> Path:
        return measure_case(0, photos, [], 1, tmp_path / "cases", only=["lanczos_2x", "nlm_denoise"], origin=origin)

    (tmp_path / "cases").mkdir()
    first = run()
    if not first.exists():  # the case has a scale for which neither expert is made
        return
    case, table = load_case(first)
    again, same_table = load_case(run())
    assert case.origin == again.origin == origin
    assert np.array_equal(case.picture, again.picture)
    assert table["experts"] == same_table["experts"]
    assert all(row["psnr"] > 0 for row in table["experts"].values())
    assert case_files(tmp_path / "cases") == [first]
