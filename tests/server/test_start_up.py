"""What a command imports, and in which process, is part of what a user waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

NEEDED = {"Compact", "DRUNet"}
"""Architectures of the embedded networks."""
NOT_NEEDED = ("torchvision", "sympy", "torch._dynamo", "scipy", "mcp", "ray")


def loaded_by(program: str, *arguments: object) -> set[str]:
    """The modules that are loaded when a program has ended."""
    report = "import atexit, sys; atexit.register(lambda: print('\\nloaded:', *sys.modules))\n"
    command = [sys.executable, "-c", report + program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("\nloaded: ")[2].split())


def test_a_restoration_imports_neither_torchvision_nor_architectures_that_it_does_not_run(
    photos: Any, tmp_path: Path
) -> None:
    output = tmp_path / "result.png"
    program = "from server.cli.app import main; main()"
    paths = ("--output", output, "--runs", tmp_path / "runs")
    modules = loaded_by(program, "restore", photos.noisy, "--scale", 2, *paths, "--quiet")
    assert output.is_file()
    assert modules.isdisjoint(NOT_NEEDED), modules.intersection(NOT_NEEDED)
    package = "spandrel.architectures."
    assert {name.removeprefix(package).partition(".")[0] for name in modules if name.startswith(package)} <= {
        *NEEDED,
        "__arch_helpers",
    }
    assert {"torch", "cv2"} <= modules


def test_a_server_loads_while_its_client_waits_for_its_user(tmp_path: Path) -> None:
    program = f"""
import anyio
from mcp import Client
from server.mcp.app import build_server
from server.settings import ServerSettings

async def use(folder=__import__("pathlib").Path({str(tmp_path)!r})):
    settings = ServerSettings(allowed=(folder,), output=folder, workspace=folder / "w", runs=folder / "runs")
    async with Client(build_server(settings)) as client:
        await client.list_tools()
        with anyio.fail_after(300):
            while not hasattr(sys.modules.get("torch"), "compile"):
                await anyio.sleep(0.1)

anyio.run(use)
"""
    assert "agent.run" in loaded_by(program)


def test_the_decoding_process_does_not_import_torch(tmp_path: Path) -> None:
    program = "from io import BytesIO; from imaging.decoding.worker import serve; serve(BytesIO(), BytesIO())"
    modules = loaded_by(program)
    assert "imaging.decoding.decode" in modules
    assert modules.isdisjoint(("torch", "scipy", "tifffile", "skimage", "rich", "pydantic", "agent", "iqa"))


def test_spandrel_is_whole_for_whom_imports_it_after_a_part_was_used(tmp_path: Path) -> None:
    program = (
        "from toolbox.catalogue import default_catalogue\n"
        "from toolbox.expert import load_expert\n"
        "network = load_expert(default_catalogue().card('restore4k_sr_x2'))\n"
        "assert 'torchvision' not in sys.modules\n"
        "import spandrel\n"
        "assert isinstance(network.descriptor, spandrel.ImageModelDescriptor)\n"
        "assert {'HAT', 'Compact'} <= {one.architecture.id for one in spandrel.MAIN_REGISTRY}\n"
        "assert not hasattr(spandrel, 'no_such_name')\n"
    )
    assert "spandrel.architectures.HAT" in loaded_by(program)
