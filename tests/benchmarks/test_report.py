"""Reports of benchmarks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import report


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "reports"
    monkeypatch.setattr(report, "REPORTS", folder)
    monkeypatch.setattr("sys.argv", ["/somewhere/benchmarks/speed.py", "--data", "/home/me/bench/set5", "growth"])
    return folder


def test_output_becomes_a_report_with_date_commit_machine_and_command(
    reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with report.reported("speed", "Speed"):
        print("| network | s |")
    text = (reports / "speed.md").read_text()
    assert re.match(r"# Speed\n\n\d{4}-\d\d-\d\d, commit .+; .+, \d+ cores, .*torch .+\.\n\n`", text)
    assert "`python -m benchmarks.speed --data .../bench/set5 growth`" in text
    assert text.endswith("\n\n| network | s |\n")
    assert capsys.readouterr().out == "| network | s |\n"


def test_aligned_columns_stay_aligned(reports: Path) -> None:
    with report.reported("speed", "Speed", preformatted=True):
        print("side   seconds")
    assert (reports / "speed.md").read_text().endswith("\n```\nside   seconds\n```\n")


def test_a_benchmark_that_fails_leaves_the_last_report(reports: Path) -> None:
    with report.reported("speed", "Speed"):
        print("first")

    @report.reported("speed", "Speed")
    def fail() -> None:
        print("second")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "first" in (reports / "speed.md").read_text()


def test_a_process_that_prints_nothing_writes_no_report(reports: Path) -> None:
    with report.reported("speed", "Speed"):
        pass
    assert not reports.exists()
