"""What is built for others to install: the wheel, the bundle, the registry's entry, the snippets for clients."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from typer.main import get_command

from server.cli.app import app
from server.settings import STEPS

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
BUILD = runpy.run_path(str(REPOSITORY / "bundle" / "build.py"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built: Path = BUILD["build_wheel"](tmp_path_factory.mktemp("wheel"))
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a new environment that has our wheel, and finds its dependencies in this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    install = [commands / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=120)
    (site,) = folder.rglob("site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return commands


def run(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {**kept, "XDG_STATE_HOME": str(cwd / "state"), "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        [command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_wheel_gives_a_command_that_helps(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "restore4k", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


def test_the_wheel_has_every_template(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if "/templates/" in name}
    folders = [REPOSITORY / room for room in ("agent/report", "agent/batch", "server/mcp")]
    templates = {str(file.relative_to(REPOSITORY)) for folder in folders for file in folder.glob("templates/*.*")}
    assert packed == templates
    assert {Path(name).name for name in templates} >= {"report.html.j2", "batch.html.j2", "view.html.j2", "view.js"}


def test_the_installed_command_restores_with_nothing_but_the_wheel(
    installed: Path, tmp_path: Path, photos: Any
) -> None:
    arguments = ["restore", str(photos.noisy), "--long-side", "128", "--runs", str(tmp_path / "runs"), "--json", "-q"]
    done = run(installed / "restore4k", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert Path(document["report"]).exists()
    assert (document["width"], document["height"]) == (128, 107)


def test_the_bundle_is_complete(wheel: Path, server: MCPServer[Any]) -> None:
    manifest = BUILD["manifest"](PROJECT["version"])
    project = tomllib.loads(BUILD["project_file"](PROJECT, wheel.name, BUILD["pins"]()))
    assert manifest["version"] == project["project"]["version"] == PROJECT["version"]
    assert project["tool"]["uv"]["sources"]["restore4k"]["path"] == wheel.name
    used = set(re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(manifest["server"])))
    assert used == set(manifest["user_config"])
    pinned = {line.split("==")[0] for line in project["tool"]["uv"]["constraint-dependencies"]}
    needed = {re.split(r"[<>=\[]", line)[0].lower() for line in PROJECT["dependencies"]}
    assert needed <= pinned


@pytest.mark.anyio
async def test_the_manifest_names_the_tools_that_its_server_offers(server: MCPServer[Any]) -> None:
    async with Client(server) as client:
        every = {tool.name for tool in (await client.list_tools()).tools}
    listed = {tool["name"] for tool in await BUILD["_tools"]()}
    assert listed == {name for name in every if name in STEPS}
    assert "restore_to_4k" in listed < every


def test_the_manifest_is_valid_for_the_official_tool(tmp_path: Path) -> None:
    program = shutil.which("mcpb")
    if program is None:
        pytest.skip("no mcpb is installed; npm's package @anthropic-ai/mcpb brings it")
    (tmp_path / "manifest.json").write_text(json.dumps(BUILD["manifest"](PROJECT["version"])))
    done = subprocess.run([program, "validate", "manifest.json"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_registry_entry_agrees_with_the_project() -> None:
    entry = json.loads((REPOSITORY / "server.json").read_text("utf-8"))
    (package,) = entry["packages"]
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", entry["name"])
    assert len(entry["description"]) <= 100
    assert entry["version"] == package["version"] == PROJECT["version"]
    assert package["identifier"] == PROJECT["name"]
    assert f"mcp-name: {entry['name']}" in (REPOSITORY / "README.md").read_text("utf-8")


def test_every_way_to_start_the_server_is_a_command_that_there_is() -> None:
    """In the registry's entry, the bundle, the container and the page for clients."""
    started = [command[1:] for command in _commands_of_the_page() if Path(command[0]).name == "restore4k"]
    assert len(started) >= 4
    arguments = json.loads((REPOSITORY / "server.json").read_text("utf-8"))["packages"][0]["packageArguments"]
    started.append([part for each in arguments for part in _filled(each)])
    bundled = BUILD["manifest"](PROJECT["version"])["server"]["mcp_config"]["args"]
    started.append(bundled[bundled.index("main.py") + 1 :])
    container = re.search(r"^CMD (.+)$", (REPOSITORY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert container
    started.append(json.loads(container[1]))
    serve = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    for command in started:
        assert command[0] == "serve"
        assert serve.make_context("serve", command[1:]).params["folders"], command


def _commands_of_the_page() -> list[list[str]]:
    page = (REPOSITORY / "docs" / "clients.md").read_text("utf-8")
    found = []
    for kind, text in re.findall(r"```(json|toml)\n(.*?)```", page, re.DOTALL):
        document = json.loads(text) if kind == "json" else tomllib.loads(text)
        (servers,) = document.values()
        found += [[each["command"], *each["args"]] for each in servers.values()]
    return found


def _filled(argument: dict[str, Any]) -> list[str]:
    """A package argument as a client passes it."""
    value = argument.get("value", "/given")
    return [argument["name"], value] if argument["type"] == "named" else [value]


def test_the_bundle_is_built_by_one_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "bundle/build.py"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    bundle = REPOSITORY / "dist" / f"restore4k-{PROJECT['version']}.mcpb"
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        entry = json.loads(archive.read("manifest.json"))["server"]["entry_point"]
    assert {"manifest.json", "pyproject.toml", "LICENSE", entry} <= names
    assert any(name.endswith(".whl") for name in names)
