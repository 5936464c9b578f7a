"""The report of a run as headless Chromium shows it."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.report import write_report
from agent.state import RunState


class Browser:
    """Headless Chromium, spoken to in its DevTools protocol over a pipe."""

    FLAGS = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
    )
    PATIENCE_S = 60.0
    # Chromium reads its file 3 and writes its file 4.
    START = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4);"
        "os.execv(sys.argv[3], sys.argv[3:])"
    )

    def __init__(self, program: str, profile: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        command = [sys.executable, "-c", self.START, str(theirs_in), str(theirs_out), program, *self.FLAGS]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def quit(self) -> None:
        self._session = ""
        self.call("Browser.close")
        self._process.wait(self.PATIENCE_S)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, file: Path, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=file.as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Ask until it is true: what the page does in a later task of its own."""
        deadline = time.monotonic() + self.PATIENCE_S / 4
        while not self.value(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.02)

    def click(self, selector: str, across: float = 0.5) -> None:
        """Press the mouse on an element, at a share of its width."""
        at = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{at}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y, width, height = self.value(f"(b => [b.x, b.y, b.width, b.height])({at}.getBoundingClientRect())")
        point = {"x": x + width * across, "y": y + height / 2, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **point)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **point)

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, file: Path) -> None:
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + self.PATIENCE_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(deadline - time.monotonic(), 0))
            chunk = os.read(self._in, 1 << 20) if ready else b""
            assert chunk, "Chromium has nothing more to say"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium is installed; Debian's package chromium brings one")
    one = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield one
    one.quit()


AT = "document.querySelector('main > .compare').style.getPropertyValue('--at')"
CLIP = "getComputedStyle(document.querySelectorAll('main > .compare figure')[1]).clipPath"


def test_the_script_runs_without_error_under_its_own_policy(
    browser: Browser, run_folder: Path, finished_run: RunState
) -> None:
    browser.open(write_report(finished_run, run_folder))
    assert browser.value("document.documentElement.dataset.ready") == "1"
    assert browser.value("document.documentElement.dataset.error ?? null") is None
    assert browser.value("[...document.images].filter(i => i.src && !i.naturalWidth).length") == 0
    assert browser.value("document.querySelectorAll('.card').length") == 12


def test_the_slider_follows_mouse_and_arrow_keys(browser: Browser, run_folder: Path, finished_run: RunState) -> None:
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
    browser: Browser, run_folder: Path, finished_run: RunState
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
def test_text_stands_out_from_the_paper(
    browser: Browser, run_folder: Path, finished_run: RunState, scheme: str
) -> None:
    browser.open(write_report(finished_run, run_folder), scheme=scheme)
    shades = {
        name: browser.value(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
        for name in ("paper", "ink", "quiet", "accent", "bad")
    }
    for name in ("ink", "quiet", "accent", "bad"):
        assert contrast(shades[name], shades["paper"]) >= 4.5, f"{name} in {scheme}"
    assert (luminance(shades["paper"]) < 0.2) == (scheme == "dark")


def test_a_phone_needs_no_sideways_scrolling(browser: Browser, run_folder: Path, finished_run: RunState) -> None:
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
