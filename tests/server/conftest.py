"""A small real photo, and servers with folders of their own."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import uvicorn
from mcp import StdioServerParameters
from mcp.server import MCPServer
from mcp.types import CallToolResult, TextContent
from skimage import data

from server.mcp.app import build_server
from server.mcp.connections import Connection
from server.settings import ServerSettings

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Photos:
    """A folder with one degraded photo of 96x80 pixels, and the same without degradation."""

    folder: Path
    noisy: Path
    clean: Path


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    folder = tmp_path / "photos"
    folder.mkdir()
    clean = np.asarray(data.astronaut())[:80, 180:276]
    noise = np.random.default_rng(7).normal(0, 25, clean.shape)
    PIL.Image.fromarray(clean).save(folder / "clean.png")
    PIL.Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)).save(folder / "noisy.jpg", quality=95)
    return Photos(folder, folder / "noisy.jpg", folder / "clean.png")


@pytest.fixture
def settings(tmp_path: Path, photos: Photos) -> ServerSettings:
    return ServerSettings(
        allowed=(photos.folder,),
        output=tmp_path / "output",
        workspace=tmp_path / "workspace",
        runs=tmp_path / "runs",
        tools="all",
        wait_seconds=600,
    )


@pytest.fixture
def facts() -> Callable[[CallToolResult], dict[str, str]]:
    """The lines `name: value` of a reply; the first line is the summary."""

    def of(result: CallToolResult) -> dict[str, str]:
        assert not result.is_error, result.content
        assert isinstance(result.content[0], TextContent)
        lines = result.content[0].text.splitlines()
        found = dict(line.split(": ", 1) for line in lines if ": " in line)
        if "image" in found:
            found["handle"] = found["image"].split()[0]
        return {"summary": lines[0], **found}

    return of


@pytest.fixture
def server(settings: ServerSettings) -> MCPServer[Any]:
    return build_server(settings)


class _Server(uvicorn.Server):
    """Tells when it takes connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@contextmanager
def _serving(app: Any, path: str = "/mcp") -> Iterator[str]:
    config = uvicorn.Config(app, port=0, log_level="error", http=Connection, ws="none", timeout_graceful_shutdown=1)
    server = _Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert server.is_up.wait(60)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{path}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def serving() -> Callable[..., AbstractContextManager[str]]:
    """Serves an app in a thread of its own, on a real port, and gives its URL."""
    return _serving


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a process of its own, whose state stays in the test's folder."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH")}
    return {
        **kept,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OMP_NUM_THREADS": "2",
        "RESTORE4K_RUNS": str(tmp_path / "runs"),
    }


@pytest.fixture
def serve_command(tmp_path: Path, photos: Photos) -> list[str]:
    """Starts a server on stdio."""
    folders = ["--allow", str(photos.folder), "--output", str(tmp_path / "output")]
    tools = ["--tools", "all", "--wait-seconds", "600"]
    return [sys.executable, "-m", "server", "serve", *folders, *tools]


@pytest.fixture
def stdio_server(serve_command: list[str], environment: dict[str, str]) -> StdioServerParameters:
    return StdioServerParameters(
        command=serve_command[0], args=serve_command[1:], env=environment, cwd=str(REPOSITORY)
    )
