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
from click.testing import Result
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from agent.state import Plan
from imaging.image import Image
from imaging.pixels import MEMORY_VARIABLE, memory_budget
from server.cli.app import app
from server.cli.downloads import downloads_for_profile
from toolbox.store import ModelStore

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command line in this process, with a runs folder of its own."""
    monkeypatch.setenv("RESTORE4K_RUNS", str(tmp_path / "runs"))

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


def test_restore_writes_beside_the_photo_and_tells_where(run: Any, photos: Any) -> None:
    result = run("restore", photos.noisy, "--long-side", 200)
    assert result.exit_code == 0, result.stderr
    output = photos.folder / "noisy_restored.png"
    with PIL.Image.open(output) as picture:
        assert picture.size == (200, 167)
    assert str(output) in result.stdout
    assert "report.html" in result.stdout
    assert "wins with" in result.stderr


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
def test_a_spent_budget_ends_the_work_and_is_told(
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


def test_a_budget_that_is_no_number_is_one_line(run: Any, photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_restorations_of_the_readme_do_not_stand_in_each_others_way() -> None:
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


def test_a_fault_of_ours_is_one_line_and_exit_code_1(run: Any, photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_experts_can_be_listed_by_task(run: Any) -> None:
    everything = json.loads(run("experts", "--json").stdout)["experts"]
    some = json.loads(run("experts", "--json", "--task", "denoising").stdout)["experts"]
    assert {expert["task"] for expert in some} == {"denoising"}
    assert len(some) < len(everything)
    assert some[0]["name"] in run("experts", "--task", "denoising").stdout


@pytest.mark.parametrize(
    ("command", "kind"), [(["experts"], "experts"), (["models", "list"], "models"), (["profiles"], "profiles")]
)
def test_names_are_listed_whole_on_a_narrow_terminal(
    run: Any, monkeypatch: pytest.MonkeyPatch, command: list[str], kind: str
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = run(*command).stdout
    names = [one["name"] for one in json.loads(run(*command, "--json").stdout)[kind]]
    assert [name for name in names if f"│ {name} " not in shown] == []
    assert "…" not in shown


def test_what_finds_and_compares_faces_can_be_pulled(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    listed = json.loads(run("models", "list", "--json").stdout)["models"]
    faces = {model["name"]: model["state"] for model in listed if model["purpose"] == "faces"}
    assert faces == dict.fromkeys(("yunet", "sface", "ediffiqa"), "can be pulled")
    assert "face_detection_yunet" in run("models", "verify", "faces").stderr
    assert {download.name for download in downloads_for_profile(ModelStore(), "Aer4K-F")}.isdisjoint(faces)
    assert faces.keys() <= {download.name for download in downloads_for_profile(ModelStore(), "default")}


def test_experts_are_listed_with_licence_and_with_what_to_do(run: Any) -> None:
    listed = {one["name"]: one for one in json.loads(run("experts", "--json").stdout)["experts"]}
    assert listed["kbnet_derain"]["state"] == "can be pulled"
    assert listed["kbnet_derain"]["advice"] == "restore4k models pull kbnet_derain"
    assert (listed["codeformer"]["commercial"], listed["codeformer"]["architecture"]) == ("no", "CodeFormer")
    assert listed["osediff"]["advice"] == "restore4k models pull osediff"
    assert "restore4k models pull kbnet_derain" in run("experts", "--task", "deraining").stdout


def test_profiles_are_listed_and_shown(run: Any, tmp_path: Path) -> None:
    names = {profile["name"] for profile in json.loads(run("profiles", "--json").stdout)["profiles"]}
    assert {"default", "Gen4K-P"} <= names
    assert json.loads(run("profiles", "default", "--json").stdout)["long_side"] == 4096
    (tmp_path / "mine.toml").write_text("long_side = 512\n")
    assert "512" in run("profiles", tmp_path / "mine.toml").stdout
    assert "Gen4K-P" in run("profiles").stdout


def test_doctor_finds_this_machine_fit(run: Any) -> None:
    result = run("doctor", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == (0 if document["healthy"] else 1)
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert {"python", "libraries", "device", "memory", "experts", "embedded weights", "runs folder"} <= states.keys()
    assert states["metrics"] == states["mcp server"] == "ok"
    assert states["python"] == states["libraries"] == states["experts"] == "ok"


def test_doctor_says_what_to_do_where_a_folder_cannot_be_written(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RESTORE4K_RUNS", str(tmp_path / "file" / "runs"))
    result = run("doctor", "--json")
    assert result.exit_code == 1
    check = next(check for check in json.loads(result.stdout)["checks"] if check["name"] == "runs folder")
    assert check["state"] == "problem"
    assert check["hint"]


@pytest.mark.parametrize("command", ["analyze", "quality", "plan"])
def test_what_is_hidden_behind_transparency_is_not_judged(run: Any, photos: Any, command: str) -> None:
    told = []
    for hidden in (0, 255):
        picture = PIL.Image.open(photos.clean).convert("RGBA")
        picture.paste((hidden, hidden, hidden, 0), (0, 0, 96, 20))
        picture.save(photos.folder / "cut_out.png")
        told.append(run(command, photos.folder / "cut_out.png", "--json").stdout)
    assert told[0] == told[1]


def test_a_finished_run_is_only_told_again(run: Any, photos: Any, tmp_path: Path) -> None:
    first = json.loads(run("restore", photos.noisy, "--long-side", 128, "--json", "--quiet").stdout)
    again = json.loads(run("resume", Path(first["run"]).name, "--json", "--quiet").stdout)
    assert again == first


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_run_that_was_stopped_can_be_resumed(
    run: Any, photos: Any, tmp_path: Path, environment: dict[str, str], number: int, code: int
) -> None:
    command = [sys.executable, "-u", "-m", "server", "restore", str(photos.noisy), "--long-side", "1024"]
    with subprocess.Popen(
        command, env=environment, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        next(line for line in lines if line.startswith("plan: "))
        os.kill(process.pid, number)
        told = "".join(lines)
        assert process.wait(timeout=60) == code
    output = photos.folder / "noisy_restored.png"
    assert not output.exists()
    folder = next((tmp_path / "runs").iterdir())
    assert f"restore4k resume {folder}" in told or number == signal.SIGKILL
    resumed = run("resume", folder.name, "--json", "--quiet")
    assert resumed.exit_code == 0, resumed.stderr
    with PIL.Image.open(output) as picture:
        assert max(picture.size) == 1024


def test_a_result_whose_name_was_taken_meanwhile_can_be_written_all_the_same(
    run: Any, photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, other = tmp_path / "out.png", tmp_path / "other.png"

    def late(image: Image, plan: Plan) -> Image:
        output.write_bytes(b"precious")
        return image

    with monkeypatch.context() as patch:
        patch.setattr("agent.loop.finish", late)
        told = run("restore", photos.noisy, "--long-side", 96, "-o", output)
    (folder,) = (tmp_path / "runs").iterdir()
    assert told.exit_code == 2
    assert f"resume with: restore4k resume {folder}" in told.stderr
    assert run("resume", folder.name).exit_code == 2
    assert run("resume", folder.name, "--output", other).exit_code == 0
    assert other.exists()
    assert output.read_bytes() == b"precious"


def test_the_first_line_names_the_run(run: Any, photos: Any, tmp_path: Path) -> None:
    first = run("restore", photos.noisy, "--long-side", 96).stderr.splitlines()[0]
    assert first.startswith(f"run {next((tmp_path / 'runs').iterdir()).name}: restoring {photos.noisy}")


@pytest.mark.parametrize("option", [(), ("--allow",)])
def test_serve_refuses_to_read_from_a_folder_that_is_not_there(
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
