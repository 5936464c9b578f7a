"""Who looks and plans can be chosen on the command line, by the environment, or by the profile."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from server.cli.app import app
from server.cli.doctor import Check, examine


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REASONER", "LLM_URL", "LLM_MODEL", "LLM_KEY", "VLM"):
        monkeypatch.delenv(f"RESTORE4K_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def closed_port() -> int:
    """Where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def reasoners() -> Check:
    return next(check for check in examine() if check.name == "reasoners")


@pytest.mark.parametrize("command", ["analyze", "plan"])
def test_a_reasoner_that_is_not_set_up_is_replaced_with_a_warning(command: str, photos: Any) -> None:
    document = json.loads(run(command, photos.noisy, "--reasoner", "endpoint", "--json").stdout)
    assert "RESTORE4K_LLM_URL" in document["warnings"][0]
    assert document["diagnosis"]["by"] == "rules"
    assert "RESTORE4K_LLM_URL" in run(command, photos.noisy, "--reasoner", "endpoint").stdout


def test_an_endpoint_that_is_absent_costs_a_warning_and_not_the_picture(
    photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("RESTORE4K_LLM_URL", f"http://127.0.0.1:{closed_port}/v1")
    monkeypatch.setenv("RESTORE4K_LLM_MODEL", "nobody")
    result = run(
        "restore", photos.noisy, "--reasoner", "endpoint", "--scale", 2, "--json", "--runs", tmp_path / "runs"
    )
    document = json.loads(result.stdout)
    assert Path(document["output"]).exists()
    assert "the rules decide" in document["warnings"][0]
    assert document["model_use"]["calls"] == 1


def test_the_environment_chooses_where_the_option_does_not(photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE4K_REASONER", "local")
    assert "RESTORE4K_VLM" in json.loads(run("plan", photos.noisy, "--json").stdout)["warnings"][0]
    ruled = json.loads(run("plan", photos.noisy, "--reasoner", "rules", "--json").stdout)
    assert not any("RESTORE4K" in warning for warning in ruled["warnings"])


def test_a_reasoner_that_does_not_exist_is_told(photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE4K_REASONER", "oracle")
    assert "oracle" in run("plan", photos.noisy, "--json").output
    assert run("plan", photos.noisy, "--json").exit_code != 0


def test_the_doctor_says_that_the_rules_are_there_and_where_to_read_on() -> None:
    check = reasoners()
    assert (check.state, check.found) == ("ok", "rules")
    assert "docs/reasoners.md" in check.hint


def test_the_doctor_says_what_is_wrong_with_a_reasoner_without_its_key(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("RESTORE4K_LLM_URL", f"http://127.0.0.1:{closed_port}/v1")
    assert "RESTORE4K_LLM_MODEL" in reasoners().hint
    monkeypatch.setenv("RESTORE4K_LLM_MODEL", "llava")
    monkeypatch.setenv("RESTORE4K_LLM_KEY", "sk-secret")
    check = reasoners()
    assert check.state == "warning"
    assert "endpoint: llava at http://127.0.0.1" in check.found
    assert "cannot be used" in check.hint
    assert "sk-secret" not in str(check)


def test_the_doctor_says_that_a_local_model_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("RESTORE4K_VLM", "nobody/has-this-model")
    check = reasoners()
    assert check.state == "warning"
    assert "nobody/has-this-model" in check.hint
