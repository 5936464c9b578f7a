from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from agent.state import Plan
from imaging.image import Image
from imaging.pixels import MEMORY_VARIABLE, memory_budget
from server.cli.app import app

REPOSITORY = Path(__file__).parents[3]


def test_restore_writes_beside_the_photo_and_tells_where(run: Any, photos: Any) -> None:
    result = run("restore", photos.noisy, "--long-side", 200)
    assert result.exit_code == 0, result.stderr
    output = photos.folder / "noisy_restored.png"
    with PIL.Image.open(output) as picture:
        assert picture.size == (200, 167)
    assert str(output) in result.stdout
    assert "report.html" in result.stdout
    assert " chosen, score " in result.stderr


def test_restore_with_json_prints_one_document(run: Any, photos: Any) -> None:
    result = run("restore", photos.noisy, "--scale", 2, "--json", "--quiet", "-o", photos.folder / "out.webp")
    document = json.loads(result.stdout)
    assert (document["width"], document["height"]) == (192, 160)
    assert Path(document["output"]).exists()
    assert Path(document["report"]).exists()
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("option", "spent"), [(("--max-runs", 1), "1 expert runs"), (("--max-seconds", 1e-6), "1e-06 seconds")]
)
def test_a_spent_budget_ends_the_run_and_is_reported(
    run: Any, photos: Any, option: tuple[str, float], spent: str
) -> None:
    document = json.loads(run("restore", photos.noisy, "--scale", 2, *option, "--json", "--quiet").stdout)
    assert document["width"] == 192
    assert any(f"the budget of {spent} is spent" in warning for warning in document["warnings"])


def test_memory_is_the_budget_of_the_run(run: Any, photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, "7")
    seen = list[int]()
    monkeypatch.setattr("agent.run.restore_file", lambda *_, **__: seen.append(memory_budget()))
    run("restore", photos.noisy, "--memory", 0.5)
    assert seen == [1 << 29]
    assert memory_budget() == 7 << 30


@pytest.mark.parametrize("number", ["inf", "1e300"])
def test_infinite_limits_are_none(run: Any, photos: Any, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    seen = list[object]()
    monkeypatch.setattr("agent.run.restore_file", lambda *_, **__: seen.append(memory_budget()))
    monkeypatch.setattr("server.mcp.app.serve", lambda settings, *_: seen.append(settings.workspace_bytes))
    run("restore", photos.noisy, "--memory", number)
    result = run("serve", photos.folder, "--memory", number, "--workspace-gb", number, "--workspace-days", number)
    assert result.exit_code == 0, result.stderr
    assert seen == [10**9 << 30] * 2


@pytest.mark.parametrize("region", ["face " + "9" * 5000, "9" * 5000, "0.5," * 3000])
def test_regions_of_endless_numbers_are_refused(run: Any, photos: Any, region: str) -> None:
    result = run("restore", photos.noisy, "--region", region)
    assert result.exit_code == 2, result.stderr


def test_an_invalid_budget_is_a_one_line_error(run: Any, photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY_VARIABLE, "plenty")
    result = run("restore", photos.noisy)
    assert result.exit_code == 2
    assert (
        result.stderr.strip().splitlines()[-1].startswith("error: RESTORE4K_MEMORY='plenty' is not a positive number")
    )


def test_an_output_folder_gets_the_default_name(run: Any, photos: Any, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    run("restore", photos.noisy, "--long-side", 128, "-o", tmp_path / "results")
    assert (tmp_path / "results" / "noisy_restored.png").exists()


def test_an_existing_result_is_replaced_only_where_asked(run: Any, photos: Any) -> None:
    output = photos.folder / "out.png"
    output.write_bytes(b"precious")
    refused = run("restore", photos.noisy, "--long-side", 128, "-o", output)
    assert (refused.exit_code, output.read_bytes()) == (2, b"precious")
    assert "or give --overwrite" in refused.stderr
    assert run("restore", photos.noisy, "--long-side", 128, "-o", output, "--overwrite").exit_code == 0
    assert output.read_bytes() != b"precious"


def test_the_commands_of_the_readme_do_not_conflict() -> None:
    command, taken = get_command(app), set[str]()
    assert isinstance(command, TyperGroup)
    for line in re.findall(
        r"restore4k restore (.*?)(?: +#.*)?$", (REPOSITORY / "README.md").read_text(), re.MULTILINE
    ):
        given = command.commands["restore"].make_context("restore", shlex.split(line)).params
        output = str(given["output"] or Path(given["image"]).with_suffix("").name + "_restored.png")
        assert output not in taken or given["overwrite"], line
        taken.add(output)
    assert len(taken) > 1


def test_every_kind_of_bad_image_gives_one_line_and_exit_code_2(
    run: Any, bad_image_files: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "out" / "result.png"
    for kind, file in bad_image_files.items():
        for command in (["restore", file, "-o", output], ["analyze", file], ["plan", file]):
            result = run(*command)
            assert result.exit_code == 2, (kind, command[0], result.output, result.exception)
            assert result.stdout == "", kind
            assert result.stderr.startswith("error: "), kind
            assert result.stderr.count("\n") == 1, (kind, result.stderr)
    assert not output.parent.exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["restore", "absent.png"], "ImageError"),
        (["restore", "{photo}", "--profile", "Gen4K"], "UnknownProfile"),
        (["restore", "{photo}", "--profile", "absent.toml"], "UnknownProfile"),
        (["restore", "{photo}", "--scale", "3"], "RequestError"),
        (["restore", "{photo}", "--long-side", "1"], "RequestError"),
        (["restore", "{photo}", "--scale", "2", "--long-side", "512"], "RequestError"),
        (["restore", "{photo}", "--max-seconds", "0"], "RequestError"),
        (["restore", "{photo}", "--max-runs", "-1"], "RequestError"),
        (["restore", "{photo}", "-o", "result.docx"], "OutputError"),
        (["resume", "absent"], "RunError"),
        (["analyze", "absent.png"], "ImageError"),
        (["plan", "{photo}", "--profile", "x"], "UnknownProfile"),
        (["profiles", "x"], "UnknownProfile"),
    ],
)
def test_errors_with_json_are_a_document_too(run: Any, photos: Any, arguments: list[str], kind: str) -> None:
    result = run(*(argument.format(photo=photos.noisy) for argument in arguments), "--json")
    assert result.exit_code == 2, result.output
    error = json.loads(result.stdout)["error"]
    assert error["type"] == kind
    assert error["message"]
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_resuming_an_absent_run_says_so_and_speaks_of_no_new_one(run: Any) -> None:
    result = run("resume", "absent")
    assert "absent is not a run folder" in result.stderr
    assert "started" not in result.stderr


def test_an_internal_error_is_one_line_and_exit_code_1(
    run: Any, photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("inner workings")

    monkeypatch.setattr("agent.perception.measure", broken)
    result = run("analyze", photos.noisy)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    monkeypatch.setenv("RESTORE4K_DEBUG", "1")
    assert "Traceback" in run("analyze", photos.noisy).stderr


def test_analyze_and_plan_name_the_noise(run: Any, photos: Any) -> None:
    analysed = json.loads(run("analyze", photos.noisy, "--json").stdout)
    present = [finding["degradation"] for finding in analysed["diagnosis"]["findings"] if finding["present"]]
    assert "noise" in present
    assert "noise" in run("analyze", photos.noisy).stdout
    planned = json.loads(run("plan", photos.noisy, "--json").stdout)
    assert planned["final_width"] == 4096
    assert "denoising" in [step["task"] for step in planned["steps"]]
    assert "4096" in run("plan", photos.noisy).stdout


@pytest.mark.parametrize("command", ["analyze", "quality", "plan"])
def test_hidden_pixels_do_not_affect_measurements(run: Any, photos: Any, command: str) -> None:
    outputs = []
    for hidden in (0, 255):
        picture = PIL.Image.open(photos.clean).convert("RGBA")
        picture.paste((hidden, hidden, hidden, 0), (0, 0, 96, 20))
        picture.save(photos.folder / "cut_out.png")
        outputs.append(run(command, photos.folder / "cut_out.png", "--json").stdout)
    assert outputs[0] == outputs[1]


def test_resuming_a_finished_run_returns_its_summary(run: Any, photos: Any, tmp_path: Path) -> None:
    first = json.loads(run("restore", photos.noisy, "--long-side", 128, "--json", "--quiet").stdout)
    again = json.loads(run("resume", Path(first["run"]).name, "--json", "--quiet").stdout)
    assert again == first


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_run_that_was_stopped_can_be_resumed(
    run: Any, photos: Any, tmp_path: Path, environment: dict[str, str], number: int, code: int
) -> None:
    command = [sys.executable, "-u", "-m", "server", "restore", str(photos.noisy), "--long-side", "256"]
    with subprocess.Popen(
        command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        next(line for line in lines if line.startswith("plan: "))
        os.kill(process.pid, number)
        errors = "".join(lines)
        assert process.wait(timeout=60) == code
    output = photos.folder / "noisy_restored.png"
    assert not output.exists()
    folder = next((tmp_path / "runs").iterdir())
    assert f"restore4k resume {folder}" in errors or number == signal.SIGKILL
    resumed = run("resume", folder.name, "--json", "--quiet")
    assert resumed.exit_code == 0, resumed.stderr
    with PIL.Image.open(output) as picture:
        assert max(picture.size) == 256


def test_a_run_whose_output_name_is_taken_can_be_resumed_to_another_output(
    run: Any, photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, other = tmp_path / "out.png", tmp_path / "other.png"

    def late(image: Image, plan: Plan, *_: float) -> Image:
        output.write_bytes(b"precious")
        return image

    with monkeypatch.context() as patch:
        patch.setattr("agent.loop.finish", late)
        result = run("restore", photos.noisy, "--long-side", 96, "-o", output)
    (folder,) = (tmp_path / "runs").iterdir()
    assert result.exit_code == 2
    assert f"resume with: restore4k resume {folder}" in result.stderr
    assert run("resume", folder.name).exit_code == 2
    assert run("resume", folder.name, "--output", other).exit_code == 0
    assert other.exists()
    assert output.read_bytes() == b"precious"


def test_the_first_line_names_the_run(run: Any, photos: Any, tmp_path: Path) -> None:
    first = run("restore", photos.noisy, "--long-side", 96).stderr.splitlines()[0]
    assert first.startswith(f"run {next((tmp_path / 'runs').iterdir()).name}: restoring {photos.noisy}")


@pytest.mark.parametrize("option", [(), ("--allow",)])
def test_serve_refuses_a_missing_folder(
    run: Any, photos: Any, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    served = []
    monkeypatch.setattr("server.mcp.app.serve", lambda settings, *_: served.append(settings.allowed))
    absent = photos.folder / "nosuch"
    refused = run("serve", photos.folder, *option, absent)
    assert (refused.exit_code, served) == (2, [])
    assert refused.stderr.startswith(f"error: there is no folder {absent}")
    assert run("serve", absent, "--output", absent / "restored").exit_code == 0  # made with the first result
    assert served == [(absent,)]


def test_help_and_lists_load_no_heavy_library(environment: dict[str, str]) -> None:
    script = """
import sys
from server.cli.app import app
from server.cli.downloads import downloads_for_profile
from toolbox.store import ModelStore
for arguments in (["--help"], ["restore", "--help"], ["experts", "--json"], ["profiles", "--json"]):
    try:
        app(arguments, standalone_mode=False)
    except SystemExit:
        pass
heavy = {"torch", "torchvision", "cv2", "scipy", "skimage", "spandrel", "mcp", "PIL"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
