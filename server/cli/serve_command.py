"""The command that serves MCP clients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from imaging.pixels import MOST_GIGABYTES, memory_limited
from server.cli.console import answering
from server.cli.options import MemoryOption, RunsOption
from server.errors import RequestError
from server.grouped import grouped
from server.settings import ServerSettings, default_allowed, default_output, default_runs


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """Folders to read from and to write to."""

    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders that images may be read from; the same as --allow.")
    ] = None
    allow: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that images may be read from; repeatable. Default: the current folder."),
    ] = None
    client_roots: Annotated[
        bool,
        typer.Option(
            "--client-roots", help="For stdio: also read from the folders that the client has open (roots)."
        ),
    ] = False
    allow_urls: Annotated[bool, typer.Option("--allow-urls", help="Fetch images from public https addresses.")] = (
        False
    )
    output: Annotated[
        Path | None, typer.Option(help="Folder for results. Default: restore4k in the user's pictures folder.")
    ] = None
    runs: RunsOption = None


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Transport and access of clients."""

    transport: Annotated[
        Literal["stdio", "streamable-http"], typer.Option(help="stdio: the client starts this process.")
    ] = "stdio"
    host: Annotated[
        str, typer.Option(help="For streamable-http; without --clients or --oauth only a name of this machine.")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=1, max=65535, help="For streamable-http; the URL ends in /mcp.")] = 8000
    clients: Annotated[
        Path | None,
        typer.Option(help="For streamable-http: TOML file of clients with tokens and folders (docs/serving.md)."),
    ] = None
    oauth: Annotated[
        Path | None,
        typer.Option(
            help="For streamable-http: TOML file of clients with tokens of an OAuth authorization server "
            "(docs/serving.md)."
        ),
    ] = None
    name: Annotated[
        list[str] | None,
        typer.Option(help="For streamable-http: HOST[:PORT] that clients use for this server; repeatable."),
    ] = None


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """Which tools clients see; every tool costs them tokens in every conversation."""

    tools: Annotated[
        Literal["restore", "steps", "all"],
        typer.Option(
            help="restore: whole restorations and `look`; steps: also a tool for each step; all: also plans, "
            "candidates, comparisons, metrics."
        ),
    ] = "steps"
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only tools that look and measure, and write nothing.")
    ] = False
    wait_seconds: Annotated[
        float,
        typer.Option(
            min=0, max=3600, help="Answer a call that takes longer with its run; more for clients that show progress."
        ),
    ] = 45.0


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """Limits on the resources of clients."""

    max_seconds: Annotated[float, typer.Option(min=1, help="Maximum duration of one call.")] = 3600
    max_megapixels: Annotated[float, typer.Option(min=1, max=178, help="Maximum size of an input image.")] = 100
    workspace_gb: Annotated[
        float, typer.Option(min=0.1, help="Maximum size of each client's workspace in gigabytes.")
    ] = 8
    workspace_days: Annotated[
        float, typer.Option(min=1, help="Remove workspace images that were not used for this many days.")
    ] = 30
    memory: MemoryOption = None


@grouped
def serve(folders: FolderOptions, tools: ToolOptions, http: HttpOptions, limits: LimitOptions) -> None:
    """Serve MCP clients."""
    with answering(as_json=False), memory_limited(limits.memory):
        from server.auth.oauth import callers_of
        from server.mcp.app import serve as serve_clients

        settings, callers = _settings(folders, tools, limits), callers_of(http.clients, http.oauth)
        serve_clients(settings, http.transport, http.host, http.port, callers, http.name or ())


def _settings(folders: FolderOptions, tools: ToolOptions, limits: LimitOptions) -> ServerSettings:
    """The settings of these options. Raises `RequestError` if a folder does not exist and is not for results."""
    named = [folder.expanduser().absolute() for folder in (*(folders.folders or ()), *(folders.allow or ()))]
    output = (folders.output or default_output()).expanduser().absolute()
    for folder in named:
        if not folder.is_dir() and not output.is_relative_to(folder):
            raise RequestError(f"there is no folder {folder} to read from", "create it, or give another")
    return ServerSettings(
        allowed=tuple(named) or (() if folders.client_roots else default_allowed()),
        output=output,
        runs=(folders.runs or default_runs()).absolute(),
        urls=folders.allow_urls,
        client_roots=folders.client_roots,
        max_seconds=limits.max_seconds,
        max_pixels=round(limits.max_megapixels * 1e6),
        workspace_bytes=round(min(limits.workspace_gb, MOST_GIGABYTES) * (1 << 30)),
        workspace_days=limits.workspace_days,
        **asdict(tools),
    )
