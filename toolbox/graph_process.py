"""The parent's side of the process that runs an ONNX graph; kills it when it takes too long or is cancelled."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imaging.child import POLL_SECONDS, Child, Ended, read_into, watched
from imaging.device import best_device, system_memory
from toolbox.errors import ExpertError

WORKER = "toolbox.graph_worker"
OPEN_SECONDS = 300.0
"""For loading libraries and graph; onnxruntime folds constants meanwhile, which a hostile graph may make endless."""
TILE_SECONDS = 600.0
"""For one tile, for which the largest network takes about a minute on two cores."""
MOST_SCALE = 16
SHARE_OF_MEMORY = 0.75

T = TypeVar("T")
Check = Callable[[], None]
"""Raises if the result is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs that a graph declares."""

    shapes: list[list[int | str | None]]
    """Shapes of the inputs."""
    types: list[str]
    outputs: int


class GraphProcess:
    """A graph in a process of its own, which is started at the first call, and again if it has ended.

    Thread-safe: one tile at a time.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._child: Child | None = None
        self._lock = threading.Lock()

    def signature(self, check: Check) -> Signature:
        """Open the graph. Raises `ExpertError`, and errors of `check`."""
        with self._held(check):
            return self._open(check)

    def __call__(self, tile: NDArray[Any], check: Check) -> NDArray[np.float32]:
        """The output for one (1, C, h, w) tile. Raises `ExpertError`, and errors of `check`."""
        with self._held(check):
            if self._child is None or self._child.has_ended:
                self._open(check)
            tile = np.ascontiguousarray(tile)
            request = {"shape": tile.shape, "type": tile.dtype.name, "size": tile.nbytes}
            return self._asked(request, tile.data.cast("B"), TILE_SECONDS, check, _array_for(tile.shape))

    @contextmanager
    def _held(self, check: Check) -> Iterator[None]:
        while not self._lock.acquire(timeout=POLL_SECONDS):
            check()
        try:
            yield
        finally:
            self._lock.release()

    def _open(self, check: Check) -> Signature:
        import torch

        gpu = best_device().type == "cuda"
        request = {
            "file": str(self._file),
            "threads": torch.get_num_threads(),
            "gpu": gpu,
            "memory": 0 if gpu else int(SHARE_OF_MEMORY * (system_memory() or 0)),
        }
        self._end()
        self._child = Child(WORKER)
        return self._asked(request, b"", OPEN_SECONDS, check, lambda head, _: Signature(**head))

    def _asked(
        self,
        request: dict[str, Any],
        data: bytes | memoryview,
        seconds: float,
        check: Check,
        parse: Callable[[dict[str, Any], Child], T],
    ) -> T:
        """The answer of the process. Without one, ends the process, since the next call would get the late answer."""
        child, raised = self._child, list[Exception]()
        assert child is not None  # noqa: S101  # for the type checker
        try:
            with watched(child, seconds, check) as raised:
                child.send(request, data)
                head = json.loads(child.head())
                answer = None if "error" in head else parse(head, child)
        except (Ended, ValueError, TypeError, KeyError) as broken:
            self._end()
            if raised:
                raise raised[0] from None
            raise ExpertError(self._why(child, seconds)) from broken
        except BaseException:
            self._end()
            raise
        if child.killed:  # just after it answered
            self._end()
        if answer is None:
            raise ExpertError(str(head["error"]))
        return answer

    def _why(self, child: Child, seconds: float) -> str:
        if child.killed:
            return f"{self._file.name} took longer than {seconds:g} s for one tile"
        return f"{self._file.name} ended its process"

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


def _array_for(given: tuple[int, ...]) -> Callable[[dict[str, Any], Child], NDArray[np.float32]]:
    """A function that reads the result for a tile of that shape, and refuses one that is too large."""

    def read(head: dict[str, Any], child: Child) -> NDArray[np.float32]:
        shape = tuple(int(side) for side in head["shape"])
        if min(shape, default=0) < 1 or math.prod(shape) > math.prod(given) * MOST_SCALE**2:
            raise ExpertError(f"maps {given} to {shape}, which is not a picture")
        result = np.empty(shape, np.float32)
        read_into(child.output, result.data.cast("B"))
        return result

    return read
