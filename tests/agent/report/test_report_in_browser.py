"""The report of a run in headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from agent.report.page import write_report
from agent.state import RunState

AT = "document.querySelector('main > .compare').style.getPropertyValue('--at')"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, run_folder: Path, finished_run: RunState) -> Iterator[Page]:
    """The report of the finished run."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(write_report(finished_run, run_folder).as_uri())
    yield page
    page.close()


def test_the_script_runs_without_error_under_its_own_policy(page: Page) -> None:
    assert page.evaluate("({...document.documentElement.dataset})") == {"ready": "1"}
    assert page.evaluate("[...document.images].filter(i => i.src && !i.naturalWidth).length") == 0
    expect(page.locator(".card")).to_have_count(12)


def test_the_slider_follows_mouse_and_arrow_keys(page: Page) -> None:
    assert page.evaluate(AT) == "50%"
    slider = page.locator("main > .compare input")
    box = slider.bounding_box()
    assert box
    slider.click(position={"x": box["width"] / 4, "y": box["height"] / 2})
    clicked = float(page.evaluate(AT).rstrip("%"))
    assert clicked == pytest.approx(25, abs=0.5)
    expect(page.locator("main > .compare figure").nth(1)).to_have_css(
        "clip-path", re.compile(r"inset\(0px 0px 0px 2")
    )
    slider.press("ArrowRight")
    assert float(page.evaluate(AT).rstrip("%")) > clicked
    expect(slider).to_have_attribute("aria-valuetext", re.compile("before"))


def test_a_candidate_is_compared_with_the_input_of_its_step(page: Page) -> None:
    page.locator("#step-3 .card.won .shot").click()
    dialog = page.locator("dialog")
    expect(dialog).to_be_visible()
    expect(dialog).to_have_accessible_name("Denoising: nlmeans chosen")
    before, after = (image.get_attribute("src") for image in dialog.locator("img").all())
    assert before == page.locator("#node-2").get_attribute("src")
    assert after == page.locator("#step-3 .card.won img").get_attribute("src")
    dialog.get_by_role("button", name="Next").click()
    expect(dialog).to_have_accessible_name("Denoising: keep the input")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#step-3").get_by_role("button", name="Compare keep the input")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    shades = {
        name: page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
        for name in ("paper", "ink", "quiet", "accent", "bad")
    }
    for name in ("ink", "quiet", "accent", "bad"):
        assert contrast(shades[name], shades["paper"]) >= 4.5, f"{name} in {scheme}"
    assert (luminance(shades["paper"]) < 0.2) == (scheme == "dark")


def test_a_phone_needs_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance of #rrggbb."""
    red, green, blue = (int(colour.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
