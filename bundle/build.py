"""Build the bundle for Claude Desktop: dist/restore4k-VERSION.mcpb, which installs by a double click.

    python bundle/build.py

It holds the wheel and a project file that names it, with every dependency held to the version of requirements.lock;
the client's uv installs them when the server is first started. Needs the packages of the group dev.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.mcp.app import build_server  # noqa: E402
from server.settings import ServerSettings  # noqa: E402

MAIN = """from server.cli.app import main

if __name__ == "__main__":
    main()
"""
PINNED = re.compile(r"^(?P<pin>[A-Za-z0-9._-]+==[^\s;\\]+(?: ; [^\\]+?)?)\s*\\?$")


def main() -> None:
    """Build it, and say where it lies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bundle = ROOT / "dist" / f"restore4k-{project['version']}.mcpb"
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        files = {
            "manifest.json": json.dumps(manifest(project["version"]), indent=2).encode(),
            "pyproject.toml": project_file(project, wheel.name, pins()).encode(),
            "main.py": MAIN.encode(),
            "LICENSE": (ROOT / "LICENSE").read_bytes(),
            wheel.name: wheel.read_bytes(),
        }
    bundle.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    print(f"{bundle} ({bundle.stat().st_size / 1e6:.1f} MB)")


def build_wheel(folder: Path) -> Path:
    """Our wheel, as it would be uploaded."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(folder.glob("*.whl"))


def manifest(version: str) -> dict[str, Any]:
    """bundle/manifest.json with what only the code knows: the version and the tools."""
    written: dict[str, Any] = json.loads((ROOT / "bundle" / "manifest.json").read_text("utf-8"))
    return written | {"version": version, "tools": anyio.run(_tools)}


def project_file(project: dict[str, Any], wheel: str, constraints: list[str]) -> str:
    """A project that is nothing but our wheel. JSON's lists and strings of plain text are TOML's too."""
    return (
        "[project]\n"
        'name = "restore4k-bundle"\n'
        f'version = "{project["version"]}"\n'
        f'requires-python = "{project["requires-python"]}"\n'
        'dependencies = ["restore4k"]\n\n'
        "[tool.uv]\n"
        "package = false\n"
        f"constraint-dependencies = {json.dumps(constraints, indent=2)}\n\n"
        "[tool.uv.sources]\n"
        f'restore4k = {{ path = "{wheel}" }}\n'
    )


def pins() -> list[str]:
    """The versions of requirements.lock, each with its marker."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    return [found["pin"] for line in lines if (found := PINNED.match(line))]


async def _tools() -> list[dict[str, str]]:
    async with Client(build_server(ServerSettings())) as client:
        tools = (await client.list_tools()).tools
    return [{"name": tool.name, "description": tool.description or ""} for tool in tools]


if __name__ == "__main__":
    main()
