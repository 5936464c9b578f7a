"""Checks of this machine, each with a hint on how to fix what is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Literal

from imaging.device import system_memory
from imaging.errors import RestoreError
from server.settings import APP, ServerSettings, default_output, default_runs, default_workspace
from toolbox.card import SpandrelCard
from toolbox.catalogue import catalogue_of, default_catalogue
from toolbox.pool import ModelPool
from toolbox.starter import PULL_STARTER, STARTER_SET, missing_starters
from toolbox.store import ModelStore
from toolbox.tasks import Task

OUR_PACKAGES = ("imaging", "toolbox", "iqa", "profiles", "agent", "server")
LIBRARIES = (
    "torch", "torchvision", "spandrel", "opencv-python-headless", "scikit-image", "pillow", "pydantic", "mcp"
)  # fmt: skip
GIGABYTE = 1 << 30
MEMORY_WANTED = 6 * GIGABYTE
"""A 4096x4096 picture takes 200 MB in float32; a step holds several, and torch needs memory too."""
DISK_WANTED = 2 * GIGABYTE


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check, with a hint."""

    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    hint: str = ""


def examine() -> list[Check]:
    """Run all checks; none changes anything."""
    checks: list[Callable[[], Check]] = [_python, _libraries, _package_names, _device, _memory, _experts, _weights]
    checks += [_starter, _metrics, _reasoners, _server]
    folders = {"runs folder": default_runs(), "workspace": default_workspace(), "output folder": default_output()}
    return [check() for check in checks] + [_folder(name, path) for name, path in folders.items()]


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _libraries() -> Check:
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("libraries", "problem", f"missing: {', '.join(missing)}", "install restore4k again")
    return Check("libraries", "ok", ", ".join(found))


def _package_names() -> Check:
    """Find other distributions that install packages of the same names."""
    owners = metadata.packages_distributions()
    foreign = {name: owner for name in OUR_PACKAGES if (owner := set(owners.get(name, ())) - {APP})}
    if foreign:
        message = ", ".join(f"{name} also by {', '.join(sorted(owner))}" for name, owner in foreign.items())
        return Check("package names", "problem", message, "install restore4k in an environment of its own")
    installed = all(APP in owners.get(name, ()) for name in OUR_PACKAGES)
    return Check("package names", "ok", "installed" if installed else "running from source")


def _device() -> Check:
    try:
        import torch

        from imaging.device import best_device

        device = best_device()
    except (ImportError, OSError) as error:
        hint = "install torch and torchvision together from one index"
        return Check("device", "problem", f"torch cannot be imported: {error}", hint)
    except RestoreError as error:
        return Check("device", "problem", error.message, error.hint)
    if device.type == "cuda":
        return Check("device", "ok", f"{device}: {torch.cuda.get_device_name(device)}")
    if device.type == "cpu":
        return Check("device", "ok", f"CPU with {torch.get_num_threads()} threads", "a GPU is many times faster")
    return Check("device", "ok", str(device))


def _memory() -> Check:
    total = system_memory()
    if total is None:
        return Check("memory", "ok", "unknown on this system")
    found = f"{total / GIGABYTE:.1f} GB"
    if total < MEMORY_WANTED:
        return Check("memory", "warning", found, "choose a smaller --long-side than 4096")
    return Check("memory", "ok", found)


def _experts() -> Check:
    catalogue = catalogue_of(ModelStore())
    tasks = {card.task for card in catalogue}
    found = f"{len(catalogue.cards)} for {len(tasks)} tasks"
    if Task.SUPER_RESOLUTION not in tasks:
        return Check("experts", "problem", f"{found}, none for super-resolution", "install restore4k again")
    if catalogue.problems:
        found = "; ".join((found, *(f"skipped: {problem}" for problem in catalogue.problems)))
        return Check("experts", "warning", found, "correct or delete these files")
    return Check("experts", "ok", found)


def _weights() -> Check:
    folder = resources.files("toolbox") / "weights"
    needed = [card.weights for card in default_catalogue() if isinstance(card, SpandrelCard) and card.weights]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        return Check("embedded weights", "problem", f"missing: {', '.join(missing)}", "install again")
    return Check("embedded weights", "ok", f"{len(needed)} files")


def _starter() -> Check:
    """Whether the starter set has been downloaded."""
    missing = missing_starters(ModelStore())
    found = f"{len(STARTER_SET) - len(missing)} of {len(STARTER_SET)}"
    if not missing:
        return Check("starter set", "ok", found)
    gains = "; ".join(f"{name}: {gain}" for name, gain in missing.items())
    return Check("starter set", "ok", found, f"`{PULL_STARTER}` downloads the others ({gains})")


def _metrics() -> Check:
    """List the published metrics that are installed; most forbid commercial use."""
    from iqa.published import missing_for, published_metrics

    store, metrics = ModelStore(), published_metrics()
    ready = [name for name, metric in metrics.items() if not missing_for(metric, store)]
    if not ready:
        hint = f"{len(metrics)} more can be installed: `restore4k models list`"
        return Check("metrics", "ok", "embedded ones", hint)
    bound = [f"{name} ({metrics[name].licence})" for name in ready if metrics[name].non_commercial]
    hint = f"not for commercial use: {', '.join(bound)}" if bound else ""
    return Check("metrics", "ok", f"embedded ones, {', '.join(ready)}", hint)


def _server() -> Check:
    """Whether the MCP server can be built."""
    try:
        import anyio

        from server.mcp.app import build_server

        tools = anyio.run(build_server(ServerSettings()).list_tools)
    except (ImportError, OSError) as error:
        return Check("mcp server", "problem", f"it cannot start: {error}", "install restore4k again")
    program = shutil.which(APP) or f"{sys.executable} -m server"
    hint = f"clients start it with `{program} serve FOLDER`"
    return Check("mcp server", "ok", f"{len(tools)} tools", hint)


def _reasoners() -> Check:
    """List the reasoners other than the rules; probe the chat endpoint."""
    from agent.reasoners.endpoint import Endpoint
    from agent.reasoners.local_vlm import LocalModel

    found, problems = ["rules"], []
    try:
        if endpoint := Endpoint.from_environment():
            found.append(f"endpoint: {endpoint.model} at {endpoint.place}")
            if problem := endpoint.problem():
                problems.append(f"the endpoint cannot be used: {problem}")
    except RestoreError as error:
        problems.append(str(error))
    try:
        if local := LocalModel.from_environment(ModelPool()):
            found.append(f"local: {local.model}")
            if problem := local.problem():
                problems.append(problem)
    except RestoreError as error:
        problems.append(str(error))
    if problems:
        return Check("reasoners", "warning", "; ".join(found), "; ".join(problems))
    hint = "" if len(found) > 1 else "a vision-language model can be added: docs/reasoners.md"
    return Check("reasoners", "ok", "; ".join(found), hint)


def _folder(name: str, path: Path) -> Check:
    """Whether the folder can be created and written, and has free space."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check(name, "problem", f"{path} cannot be written", "choose another folder")
    free = shutil.disk_usage(existing).free
    found = f"{path}, {free / GIGABYTE:.1f} GB free"
    if free < DISK_WANTED:
        return Check(name, "warning", found, "a 4K run needs about 1 GB; free some space")
    return Check(name, "ok", found)
