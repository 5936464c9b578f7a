"""The page for blind comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import sync_playwright

from benchmarks.blind import draw_pairs, page

NAMES = [f"photo{number}" for number in range(9)]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Dark pictures in the first, light ones in the second."""
    folders = (tmp_path / "secret_ours", tmp_path / "secret_theirs")
    for folder, value in zip(folders, (40, 200), strict=True):
        folder.mkdir()
        for name in NAMES:
            PIL.Image.fromarray(np.full((8, 12, 3), value, np.uint8)).save(folder / f"{name}.png")
    return folders


def test_sides_and_order_depend_on_the_seed_alone(folders: tuple[Path, Path]) -> None:
    drawn = [draw_pairs(*folders, None, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(pair.name for pair in drawn[0]) == NAMES
    assert {pair.first_is_left for pair in drawn[0]} == {True, False}
    assert len({pair.left if pair.first_is_left else pair.right for pair in drawn[0]}) == 1
    assert "secret" not in page(drawn[0], ("A", "B"))


def test_pictures_that_cannot_be_compared_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    PIL.Image.new("RGB", (5, 5)).save(folders[0] / "photo3.png")
    with pytest.raises(ValueError, match=r"photo3\.png"):
        draw_pairs(*folders, None, 0)
    with pytest.raises(FileNotFoundError, match="no pictures of the same name"):
        draw_pairs(folders[0], tmp_path, None, 0)


def test_whoever_always_picks_the_dark_one_votes_for_the_first(
    folders: tuple[Path, Path], tmp_path: Path, chromium: str
) -> None:
    pairs = draw_pairs(*folders, None, 0)
    (tmp_path / "blind.html").write_text(page(pairs, ("<i>ours", "theirs")), "utf-8")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as browser:
        tab = browser.new_page()
        tab.goto((tmp_path / "blind.html").as_uri())
        tab.keyboard.press("ArrowDown")
        tab.click("#back")
        tab.keyboard.press("ArrowDown")
        for pair in pairs[1:]:
            tab.click(f"[data-vote={'left' if pair.first_is_left else 'right'}]")
        result = tab.inner_text("#result")
    assert result == "<i>ours 8, theirs 0, no difference 1: <i>ours is better in 94 % (95 %: 63 to 99 %)"
