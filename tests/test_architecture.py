"""The rules of docs/architecture.md: imports between packages, sizes of files and folders, what loads when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FAST, SLOW

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("imaging", "toolbox", "iqa", "profiles", "agent", "server", "training", "benchmarks", "docs")
MAX_LINES = 400
MAX_LINES_OF_A_TEST = 300
MAX_MODULES = {"agent": 22, "server": 12}
HEAVY = ("torch", "cv2", "scipy", "skimage", "spandrel")


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )


def test_packages_import_only_what_the_contracts_allow() -> None:
    program = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    )
    linted = python(program)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_longer_than_400_lines(package: str) -> None:
    files = list((REPOSITORY / package).rglob("*.py"))
    assert files
    too_long = {file.name: lines for file in files if (lines := len(file.read_text().splitlines())) > MAX_LINES}
    assert not too_long


def test_no_test_file_is_longer_than_300_lines() -> None:
    files = (REPOSITORY / "tests").rglob("*.py")
    lines = {str(file.relative_to(REPOSITORY)): len(file.read_text("utf-8").splitlines()) for file in files}
    assert not {file: count for file, count in lines.items() if count > MAX_LINES_OF_A_TEST}


@pytest.mark.parametrize("package", MAX_MODULES)
def test_modules_of_one_idea_lie_in_a_folder_of_their_own(package: str) -> None:
    assert len(list((REPOSITORY / package).glob("*.py"))) <= MAX_MODULES[package]


@pytest.mark.parametrize("place", [*FAST, *SLOW])
def test_every_listed_place_of_a_set_of_tests_exists(place: str) -> None:
    assert (REPOSITORY / "tests" / place).exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_says_what_it_is_for(package: str) -> None:
    silent = [file for file in (REPOSITORY / package).rglob("*.py") if not file.read_text().startswith('"""')]
    assert [file.name for file in silent if file.name != "__main__.py"] == []


@pytest.mark.parametrize("arguments", [["--help"], ["experts"], ["profiles"]])
def test_the_command_line_lists_and_helps_without_heavy_libraries(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from server.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])\n"
    )
    result = python(program, *arguments)
    assert result.stdout.rstrip().endswith("loaded: []"), result.stdout + result.stderr
