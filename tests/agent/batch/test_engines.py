"""Workers: pictures get to them one at a time, the dead are replaced, and every engine gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import skimage.data

from agent.batch.engines import dispatch
from agent.batch.engines.dispatch import Dispatch, WorkerHandle
from agent.batch.engines.in_process import InProcessEngine
from agent.batch.engines.local import LocalEngine, ProcessHandle
from agent.batch.engines.work import BatchConfig, BatchProgress, Outcome, Work
from agent.batch.engines.worker import Worker
from agent.batch.pictures import Picture
from agent.batch.record import Entry
from agent.batch.request import BatchRequest
from agent.batch.runner import BatchReport, EngineOpener, Tally, run_batch
from agent.errors import BatchError, WorkerDied
from imaging.progress import ProgressToken
from profiles.schema import Profile
from toolbox.tasks import Task

ENLARGE = Profile(name="test", scale_factor=2, plan=(Task.SUPER_RESOLUTION,), experts=("restore4k_sr_x2",))


def works(*names: str) -> list[Work]:
    return [Work(Picture(name, Path(name)), Path(name), thumbnails=False) for name in names]


@dataclass(eq=False)
class FakeSeat:
    """Ends every picture at the second time of asking, unless a test says otherwise."""

    engine: FakeEngine
    number: int
    work: Work | None = None
    asked: int = 0
    closed: bool = False

    def submit(self, work: Work) -> None:
        if work.picture.name.startswith("unreadable"):
            raise BatchError("it cannot be sent")
        self.work, self.asked = work, 0

    def poll(self) -> Outcome | float | None:
        assert self.work is not None
        self.asked += 1
        if self.work.picture.name in self.engine.deadly:
            self.engine.deadly[self.work.picture.name] -= 1
            if self.engine.deadly[self.work.picture.name] >= 0:
                raise WorkerDied("out of luck")
        return 0.5 if self.asked == 1 else Outcome(self.work, stopped=self.engine.stopping)

    def stop(self) -> None:
        self.engine.stopping = True

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeEngine:
    """Seats in memory."""

    capacity: int = 2
    deadly: dict[str, int] = field(default_factory=dict)
    """How many workers die over a picture."""
    opened: list[FakeSeat] = field(default_factory=list)
    stopping: bool = False

    def start_worker(self, number: int) -> FakeSeat:
        self.opened.append(FakeSeat(self, number))
        return self.opened[-1]

    def ready(self, handles: Sequence[WorkerHandle], seconds: float) -> Sequence[WorkerHandle]:
        return handles[:1]

    def close(self) -> None:
        raise AssertionError("who opened it closes it")


def ended(engine: FakeEngine, *names: str) -> dict[str, str]:
    events = Dispatch(engine, iter(works(*names))).run(ProgressToken())
    return {one.work.picture.name: one.reason for one in events if isinstance(one, Outcome)}


def test_no_more_pictures_are_taken_than_there_are_workers() -> None:
    engine, taken, most = FakeEngine(capacity=3), [0], 0

    def counted() -> Iterator[Work]:
        for work in works(*map(str, range(20))):
            taken[0] += 1
            yield work

    done = 0
    for event in Dispatch(engine, counted()).run(ProgressToken()):
        most = max(most, taken[0] - done)
        done += isinstance(event, Outcome)
    assert (done, most, len(engine.opened)) == (20, 3, 3)


def test_a_single_picture_starts_one_worker_and_reports_progress() -> None:
    engine = FakeEngine(capacity=8)
    events = list(Dispatch(engine, iter(works("a"))).run(ProgressToken()))
    assert isinstance(events[0], BatchProgress)
    assert events[0].fraction == 0.5
    assert [handle.closed for handle in engine.opened] == [True]


def test_a_worker_that_dies_is_replaced_and_its_picture_done_by_another() -> None:
    engine = FakeEngine(deadly={"b": 1})
    assert ended(engine, "a", "b", "c") == {"a": "", "b": "", "c": ""}
    assert len(engine.opened) == 3
    assert {handle.number for handle in engine.opened} == {0, 1}
    assert all(handle.closed for handle in engine.opened)


def test_a_picture_on_which_two_workers_die_fails() -> None:
    assert ended(FakeEngine(deadly={"b": 2}), "a", "b", "c") == {
        "a": "",
        "b": "two workers died while restoring it; the second: out of luck",
        "c": "",
    }


def test_workers_that_always_die_end_the_batch() -> None:
    names = [str(number) for number in range(50)]
    engine = FakeEngine(deadly=dict.fromkeys(names, 2))
    with pytest.raises(BatchError, match="20 workers died"):
        ended(engine, *names)
    assert all(handle.closed for handle in engine.opened)


def test_a_picture_that_cannot_be_sent_fails() -> None:
    assert ended(FakeEngine(), "unreadable", "b") == {"unreadable": "it cannot be sent", "b": ""}


def test_a_worker_stopped_from_outside_loses_no_picture() -> None:
    engine = FakeEngine(capacity=1)
    events = Dispatch(engine, iter(works("a"))).run(ProgressToken())
    next(events)
    engine.stopping = True
    assert isinstance(next(events), BatchProgress)  # begun again by another worker
    engine.stopping = False
    assert isinstance(next(events), Outcome)
    assert len(engine.opened) == 2


def test_cancelling_stops_the_workers_and_gives_no_outcome_of_what_they_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "GRACE_SECONDS", 5)
    engine, token = FakeEngine(), ProgressToken()
    events = Dispatch(engine, iter(works(*"abcdef"))).run(token)
    next(events)
    token.cancel()
    assert not [one for one in events if isinstance(one, Outcome)]
    assert all(handle.closed for handle in engine.opened)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small pictures, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(3)
    for number in range(5):
        part = skimage.data.astronaut()[40 * number : 40 * number + 32, 180:220] + noise.normal(0, 20, (32, 40, 3))
        PIL.Image.fromarray(np.clip(part, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    (folder / "none.jpg").write_text("no picture")
    return folder


def restored(
    photos: Path, results: Path, engine: EngineOpener, listener: Callable[[Tally, Entry | None], None] | None = None
) -> tuple[BatchReport, dict[str, str]]:
    """The report, and the digest of every result."""
    report = run_batch(BatchRequest(photos, results, ENLARGE), engine, listener=listener)
    files = sorted(results.glob("*.png"))
    return report, {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def expected(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one worker process gives."""
    report, digests = restored(
        photos, tmp_path_factory.mktemp("expected"), lambda config: LocalEngine(config, workers=1)
    )
    assert (report.done, report.failed) == (5, 1)
    return digests


def test_this_process_gives_the_bytes_of_a_worker_process(
    photos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    assert restored(photos, tmp_path, lambda config: InProcessEngine(Worker(config)))[1] == expected


class Watched(LocalEngine):
    """Remembers its workers."""

    def __init__(self, config: BatchConfig) -> None:
        super().__init__(config, workers=2)
        self.opened: list[ProcessHandle] = []

    def start_worker(self, number: int) -> ProcessHandle:
        self.opened.append(super().start_worker(number))
        return self.opened[-1]


def test_two_workers_of_which_one_is_killed_give_the_bytes_of_one(
    photos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    engines: list[Watched] = []

    def opener(config: BatchConfig) -> Watched:
        engines.append(Watched(config))
        return engines[-1]

    def kill(tally: Tally, entry: Entry | None) -> None:
        handles = engines[0].opened
        if entry is not None and len(handles) == 2 and handles[0].process.is_alive():
            os.kill(handles[0].process.pid or 0, signal.SIGKILL)
            handles[0].process.join()

    report, digests = restored(photos, tmp_path, opener, kill)
    assert (report.done, report.failed, len(engines[0].opened)) == (5, 1, 3)
    assert digests == expected
    assert not any(handle.process.is_alive() for handle in engines[0].opened)


def test_ray_actors_of_which_one_is_killed_give_the_bytes_of_a_worker_process(
    photos: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from agent.batch.engines.on_ray import ActorHandle, RayEngine

    handler = signal.getsignal(signal.SIGTERM)
    opened: list[ActorHandle] = []

    class WatchedRay(RayEngine):
        def start_worker(self, number: int) -> ActorHandle:
            opened.append(super().start_worker(number))
            return opened[-1]

    killed: list[ActorHandle] = []

    def kill(tally: Tally, entry: Entry | None) -> None:
        if entry is not None and len(opened) == 2 and not killed:
            killed.append(opened[0])
            opened[0].close()

    report, digests = restored(photos, tmp_path, lambda config: WatchedRay(config, workers=2), kill)
    assert (report.done, report.failed) == (5, 1)
    assert "none.jpg" in report.failures[0].reason
    assert str(photos) in report.failures[0].reason
    assert len(opened) == 3
    assert digests == expected
    assert signal.getsignal(signal.SIGTERM) == handler  # which Ray would take for itself


def test_without_ray_its_engine_says_how_to_get_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    from agent.batch.engines.on_ray import RayEngine

    with pytest.raises(BatchError, match=r"not installed; pip install 'restore4k\[ray\]'"):
        restored(photos, tmp_path, RayEngine)
