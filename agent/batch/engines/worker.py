"""The worker of every engine: keeps models loaded and restores pictures one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.batch.engines.work import BatchConfig, Outcome, Work
from agent.batch.record import Figures
from agent.events import Event, Planned, Progress, Started
from agent.run import Restoration, restore_file
from imaging.disk import FREE_IT, is_disk_full
from imaging.errors import Cancelled, ResourceError, RestoreError
from imaging.pixels import memory_limited
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import thumbnail_jpeg
from toolbox.pool import ExpertPool

THUMBNAIL_SIDE = 240
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that the libraries read at import."""


def use_threads(threads: int) -> None:
    """Set the number of threads of the numeric libraries.

    It affects the last bit of sums, so all workers use the same number.
    """
    import cv2
    import torch

    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)


class Worker:
    """Restores the pictures of a batch with loaded models."""

    def __init__(self, config: BatchConfig, experts: ExpertPool | None = None) -> None:
        self._config = config
        self._experts = experts or ExpertPool()

    def restore(self, work: Work, token: ProgressToken, report: Callable[[float], None]) -> Outcome:
        """Restore a picture. Errors become an outcome with a reason."""
        try:
            with memory_limited(self._config.memory):
                return self._restored(work, token, report)
        except Cancelled:
            return Outcome(work, stopped=True)
        except RestoreError as error:
            return Outcome(work, reason=str(error), is_disk_full=is_disk_full(error))
        except Exception as error:  # a bug with this picture must not stop the batch
            if is_disk_full(error):
                return Outcome(work, reason=f"{work.result} cannot be written: {error}; {FREE_IT}", is_disk_full=True)
            return Outcome(work, reason=f"unexpected {type(error).__name__}: {error}")

    def _restored(self, work: Work, token: ProgressToken, report: Callable[[float], None]) -> Outcome:
        config, request = self._config, self._config.request
        with TemporaryDirectory(dir=config.scratch, prefix="run-") as scratch:
            restoration = restore_file(
                work.picture.file,
                work.result,
                request.profile,
                runs=config.runs or Path(scratch),
                overwrite=True,
                limits=request.limits,
                experts=self._experts,
                token=token,
                listener=_Watch(request.most_pixels, report),
                finishing=request.finishing,
            )
            before, after = _thumbnails(restoration) if work.thumbnails else (b"", b"")
            return Outcome(work, _figures(restoration, kept=config.runs is not None), before=before, after=after)


class _Watch:
    """A listener that reports progress, and stops a run whose plan exceeds the pixel limit."""

    def __init__(self, most_pixels: int | None, report: Callable[[float], None]) -> None:
        self._most, self._report = most_pixels, report
        self._pixels = 0

    def __call__(self, event: Event) -> None:
        match event:
            case Progress():
                self._report(event.fraction)
            case Started():
                self._pixels = event.width * event.height
            case Planned():
                enlarged = self._pixels * math.prod(step.scale for step in event.plan.steps) ** 2
                pixels = max(enlarged, event.plan.final_width * event.plan.final_height)
                if self._most is not None and pixels > self._most:
                    too_large = f"a result of {pixels} pixels is more than the {self._most} allowed"
                    raise ResourceError(too_large, "ask for a smaller scale or long side")


def _figures(restoration: Restoration, *, kept: bool) -> Figures:
    state, summary = restoration.state, restoration.summary()
    return Figures(
        width=summary.width,
        height=summary.height,
        plan=tuple(summary.plan),
        steps=tuple(summary.steps),
        quality=round(state.perception.quality, 4) if state.perception else 0.0,
        gain=round(state.gain_of(state.current), 4),
        seconds=round(sum(state.seconds.values()), 3),
        warnings=state.warnings,
        run=state.id if kept else "",
    )


def _thumbnails(restoration: Restoration) -> tuple[bytes, bytes]:
    """Thumbnails before and after, from the pictures of the run's report."""
    files = (restoration.folder / f"{name}.jpg" for name in ("before", "after"))
    before, after = (thumbnail_jpeg(read_image(file), THUMBNAIL_SIDE) for file in files)
    return before, after
