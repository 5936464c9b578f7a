"""Commands that list: experts, profiles, models, checks of the machine, and the skill."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from server.cli.app import app
from server.cli.downloads import downloads_for_profile
from toolbox.faces.models import face_models
from toolbox.store import ModelStore


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


def test_face_models_can_be_pulled(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_doctor_says_what_the_starter_set_would_gain(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path))
    (tmp_path / face_models()["yunet"].file.name).touch()
    check = next(
        check for check in json.loads(run("doctor", "--json").stdout)["checks"] if check["name"] == "starter set"
    )
    assert check["found"] == "1 of 5"
    assert "`restore4k models pull starter`" in check["hint"]
    assert "scunet_psnr: removes strong noise" in check["hint"]
    assert "yunet" not in check["hint"]


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


def test_the_skill_names_commands_options_and_fields_that_there_are(run: Any) -> None:
    text = run("skill").stdout
    assert text.startswith("---\nname: restore4k\ndescription: ")
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ") and "`restore4k " in line]
    assert len(rows) >= 8
    for row in rows:
        for command, rest in re.findall(r"`restore4k (\w+)([^`]*)`", row[1]):
            options = {name for option in root.commands[command].params for name in option.opts}
            assert set(re.findall(r"(?<!\S)--?[a-z-]+", rest)) <= options, command
    profiles = {profile["name"] for profile in json.loads(run("profiles", "--json").stdout)["profiles"]}
    named = text.partition("Profiles (`-p`):")[2].partition("##")[0]
    assert set(re.findall(r"`([^`]+)`", named)) <= profiles
    experts = json.loads(run("experts", "--json").stdout)["experts"]
    assert {"name", "task", "state"} <= experts[0].keys()
