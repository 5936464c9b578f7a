"""Warnings of OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from toolbox.faces.opencv_log import errors_only


@pytest.fixture(autouse=True)
def _warnings() -> Iterator[None]:
    """OpenCV's log as it begins, whatever ran before in this process."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    yield
    cv2.utils.logging.setLogLevel(level)


def test_warnings_do_not_reach_stderr_and_come_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def stderr() -> str:
        cv2.imread(str(tmp_path / "absent.png"))  # OpenCV warns of it
        return capfd.readouterr().err

    assert "absent.png" in stderr()
    with errors_only():
        assert stderr() == ""
    assert "absent.png" in stderr()
