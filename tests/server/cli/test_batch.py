"""Folders of pictures, by the command and by the tool: what comes out, what is told, how it ends and goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from click.testing import Result
from mcp import Client
from mcp.server import MCPServer
from typer.testing import CliRunner

from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.worker import Worker
from server.cli.app import app
from server.mcp.app import build_server
from server.schemas import FolderReport
from server.settings import ServerSettings

REPOSITORY = Path(__file__).parents[3]
COPIES = 12
QUICK = 'scale_factor = 2\nplan = ["super_resolution"]\nexperts = ["lanczos_2x"]\n'


@pytest.fixture
def quick(photos: Any) -> Path:
    """A profile that takes no time."""
    file: Path = photos.folder / "quick.toml"
    file.write_text(QUICK)
    return file


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command restores in this process: a worker takes five seconds to start."""
    monkeypatch.setattr("agent.batch.engines.local.LocalEngine", lambda config, **_: InProcessEngine(Worker(config)))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in ("batch", *arguments)])


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for file in folder.rglob("*.png"):
        with PIL.Image.open(file) as picture:
            found[str(file.relative_to(folder))] = picture.size
    return found


def test_the_command_restores_a_folder_and_tells_failures_by_its_exit_code(
    photos: Any, quick: Path, tmp_path: Path
) -> None:
    (photos.folder / "more").mkdir()
    photos.noisy.rename(photos.folder / "more/noisy.jpg")
    (photos.folder / "broken.png").write_text("no picture")
    results = tmp_path / "results"
    quickly = ("-p", quick, "--format", "same")
    first = run(photos.folder, results, *quickly, "--workers", 1, "--keep-runs")
    assert first.exit_code == 1, first.output
    assert sizes(results) == {"clean.png": (192, 160)}
    with PIL.Image.open(results / "more/noisy.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (192, 160))
    assert "failed: broken.png" in first.stderr
    assert "restored: 2 of 3 pictures" in first.stdout
    assert "summary.html" in first.stdout
    reports = [file.read_text() for file in results.glob("restore4k-batch/runs/*/report.html")]
    assert len(reports) == 2
    again = run(photos.folder, results, *quickly, "--json")
    summary = json.loads(again.stdout)
    assert (again.exit_code, summary["done"], summary["done_before"], summary["failed_before"]) == (1, 0, 2, 1)
    (photos.folder / "broken.png").unlink()
    assert run(photos.folder, results, *quickly, "--json", "--quiet").exit_code == 0


def test_wrong_input_ends_with_exit_code_2(photos: Any, tmp_path: Path) -> None:
    (photos.folder / "empty").mkdir()
    for arguments, why in (
        ((photos.folder / "none", tmp_path / "out"), "is not a folder"),
        ((photos.folder / "empty", tmp_path / "out"), "there is no picture in"),
        ((photos.folder, photos.folder), "taken for pictures"),
        ((photos.folder, tmp_path / "out", "-p", "nonesuch"), "nonesuch"),
        ((photos.folder, tmp_path / "out", "--address", "ray://nowhere:1"), "--engine ray"),
        ((photos.folder, tmp_path / "out", "--engine", "ray", "--keep-runs"), "omit --keep-runs"),
    ):
        result = run(*arguments)
        assert (result.exit_code, why in result.stderr) == (2, True), result.output
    assert not (tmp_path / "out").exists()


def test_sigterm_ends_a_batch_cleanly_and_the_same_command_resumes_it(
    photos: Any, quick: Path, tmp_path: Path, environment: dict[str, str], in_process: None
) -> None:
    for number in range(COPIES):
        (photos.folder / f"copy {number}.png").write_bytes(photos.clean.read_bytes())
    (photos.folder / "copy 0 broken.png").write_text("no picture")  # its failure is reported when it happens
    results = tmp_path / "results"
    command = [sys.executable, "-m", "server", "batch", str(photos.folder), str(results), "-p", str(quick)]
    process = subprocess.Popen(
        [*command, "--workers", "1"], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    assert any("failed: copy 0 broken.png" in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "resume with: restore4k batch" in errors
    done = (results / "restore4k-batch/record.jsonl").read_text().count('"status":"done"')
    assert 0 < done < COPIES + 2
    assert len(sizes(results)) == done
    assert not list((results / "restore4k-batch/scratch").glob("*"))
    report = json.loads(run(photos.folder, results, "-p", quick, "--json", "--quiet").stdout)
    assert (report["done"], report["done_before"], report["failed_before"]) == (COPIES + 2 - done, done, 1)
    assert report["finished"]


@pytest.mark.anyio
async def test_the_tool_restores_a_folder_and_a_repeated_call_does_nothing(
    server: MCPServer[Any], settings: ServerSettings, photos: Any, quick: Path
) -> None:
    (photos.folder / "broken.png").write_text("no picture")
    messages: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        messages.append(message or "")

    async with Client(server) as client:
        arguments = {"folder": ".", "profile": "quick.toml"}
        answered = await client.call_tool("restore_folder", arguments, progress_callback=on_progress)
        report = FolderReport.model_validate(answered.structured_content)
        assert (report.pictures, report.restored + report.unchanged, report.failed, report.finished) == (
            3,
            2,
            1,
            True,
        )
        assert Path(report.folder) == settings.output / f"{photos.folder.name}_restored"
        assert Path(report.page).exists()
        assert any("failed: broken.png" in message for message in messages)
        stamps = [file.stat().st_mtime_ns for file in sorted(Path(report.folder).glob("*.png"))]
        again = FolderReport.model_validate((await client.call_tool("restore_folder", arguments)).structured_content)
        assert (again.folder, again.restored, again.in_earlier_calls) == (report.folder, report.restored, 2)
        assert stamps == [file.stat().st_mtime_ns for file in sorted(Path(report.folder).glob("*.png"))]
        larger = await client.call_tool("restore_folder", {**arguments, "format": "webp"})
        assert FolderReport.model_validate(larger.structured_content).folder == f"{report.folder}_2"


@pytest.mark.anyio
async def test_a_file_at_the_place_of_a_result_is_reported_with_what_to_do(
    server: MCPServer[Any], settings: ServerSettings, photos: Any, quick: Path, tmp_path: Path, in_process: None
) -> None:
    results = tmp_path / "results"
    for folder in (results, settings.output / f"{photos.folder.name}_restored"):
        assert run(photos.folder, folder, "-p", quick, "--quiet").exit_code == 0
        (folder / "clean.png").write_bytes(b"precious")
    result = run(photos.folder, results, "-p", quick)
    assert result.stderr.count("or give --overwrite") == result.stdout.count("or give --overwrite") == 1
    async with Client(server) as client:
        answered = await client.call_tool("restore_folder", {"folder": ".", "profile": "quick.toml"})
    (failure,) = FolderReport.model_validate(answered.structured_content).failures
    assert failure.reason.endswith("clean.png exists already; move it away and call again")


@pytest.mark.anyio
async def test_the_tool_reads_and_writes_only_in_allowed_folders(
    server: MCPServer[Any], settings: ServerSettings, photos: Any, quick: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    photos.noisy.rename(outside / "secret.jpg")
    (photos.folder / "link.jpg").symlink_to(outside / "secret.jpg")
    (photos.folder / "linked").symlink_to(outside)
    async with Client(server) as client:
        for folder in (str(outside), "..", "linked"):
            refused = await client.call_tool("restore_folder", {"folder": folder})
            assert refused.is_error
            assert "outside the allowed folders" in str(refused.content)
        answered = await client.call_tool("restore_folder", {"folder": ".", "profile": "quick.toml"})
        assert FolderReport.model_validate(answered.structured_content).pictures == 1
    assert {file.name for file in settings.output.glob("*/*.png")} == {"clean.png"}


@pytest.mark.anyio
async def test_the_tool_stops_at_its_time_limit_and_says_how_to_resume(
    photos: Any, quick: Path, settings: ServerSettings
) -> None:
    short = build_server(ServerSettings(**{**_fields(settings), "max_seconds": 0.01}))
    async with Client(short) as client:
        answered = await client.call_tool("restore_folder", {"folder": ".", "profile": "quick.toml"})
    report = FolderReport.model_validate(answered.structured_content)
    assert (report.finished, report.restored + report.unchanged) == (False, 0)
    assert "repeat the call to resume" in report.summary


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("most", "size"), [(10_000, None), (3_000_000, "4K")], ids=["enlarged by experts", "resized at the end"]
)
async def test_the_tool_refuses_results_beyond_the_pixel_limit(
    photos: Any, quick: Path, settings: ServerSettings, most: int, size: str | None
) -> None:
    narrow = build_server(ServerSettings(**{**_fields(settings), "max_output_pixels": most}))
    async with Client(narrow) as client:
        arguments = {"folder": ".", "profile": "quick.toml", "size": size}
        answered = await client.call_tool("restore_folder", arguments)
    report = FolderReport.model_validate(answered.structured_content)
    assert (report.restored + report.unchanged, report.failed) == (0, 2)
    assert f"more than the {most} allowed" in report.failures[0].reason


def _fields(settings: ServerSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ("allowed", "output", "workspace", "runs")}
