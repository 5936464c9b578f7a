"""The report of a run as headless Chromium shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.report.page import write_report
from agent.state import RunState

AT = "document.querySelector('main > .compare').style.getPropertyValue('--at')"
CLIP = "getComputedStyle(document.querySelectorAll('main > .compare figure')[1]).clipPath"


def test_the_script_runs_without_error_under_its_own_policy(
    browser: Any, run_folder: Path, finished_run: RunState
) -> None:
    browser.open(write_report(finished_run, run_folder))
    assert browser.value("document.documentElement.dataset.ready") == "1"
    assert browser.value("document.documentElement.dataset.error ?? null") is None
    assert browser.value("[...document.images].filter(i => i.src && !i.naturalWidth).length") == 0
    assert browser.value("document.querySelectorAll('.card').length") == 12


def test_the_slider_follows_mouse_and_arrow_keys(browser: Any, run_folder: Path, finished_run: RunState) -> None:
    browser.open(write_report(finished_run, run_folder))
    assert browser.value(AT) == "50%"
    browser.click("main > .compare input", across=0.25)
    clicked = float(browser.value(AT).rstrip("%"))
    assert clicked == pytest.approx(25, abs=0.5)
    assert browser.value(CLIP).startswith("inset(0px 0px 0px 2")
    browser.press("ArrowRight", 39)
    assert float(browser.value(AT).rstrip("%")) > clicked
    assert "before" in browser.value("document.querySelector('main > .compare input').ariaValueText")


def test_a_candidate_is_compared_with_the_input_of_its_step(
    browser: Any, run_folder: Path, finished_run: RunState
) -> None:
    browser.open(write_report(finished_run, run_folder))
    browser.click("#step-3 .card.won .shot")
    assert browser.value("document.querySelector('dialog').open")
    assert browser.value("document.querySelector('#viewer-title').textContent") == "Denoising: nlmeans chosen"
    before, after = browser.value("[...document.querySelectorAll('dialog img')].map(i => i.src)")
    assert before == browser.value("document.querySelector('#node-2').src")
    assert after == browser.value("document.querySelector('#step-3 .card.won img').src")
    browser.click("dialog nav button:nth-child(2)")
    assert browser.value("document.querySelector('#viewer-title').textContent") == "Denoising: keep the input"
    browser.press("Escape", 27)
    assert not browser.value("document.querySelector('dialog').open")
    browser.wait_for("document.activeElement.ariaLabel?.startsWith('Compare keep the input')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(browser: Any, run_folder: Path, finished_run: RunState, scheme: str) -> None:
    browser.open(write_report(finished_run, run_folder), scheme=scheme)
    shades = {
        name: browser.value(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
        for name in ("paper", "ink", "quiet", "accent", "bad")
    }
    for name in ("ink", "quiet", "accent", "bad"):
        assert contrast(shades[name], shades["paper"]) >= 4.5, f"{name} in {scheme}"
    assert (luminance(shades["paper"]) < 0.2) == (scheme == "dark")


def test_a_phone_needs_no_sideways_scrolling(browser: Any, run_folder: Path, finished_run: RunState) -> None:
    browser.open(write_report(finished_run, run_folder), width=360, height=740)
    assert browser.value("document.documentElement.scrollWidth") == 360


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance of #rrggbb."""
    red, green, blue = (int(colour.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
