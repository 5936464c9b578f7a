"""How pictures get to workers: never more under way than there are workers, and a worker that dies is replaced."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

from agent.engines.work import Going, Outcome, Work
from agent.errors import BatchError, WorkerDied
from imaging.control import Control
from imaging.errors import Cancelled, RestoreError

POLL_SECONDS = 0.2
GRACE_SECONDS = 20.0
"""So long a worker may take to stop before it is ended."""
MOST_DEATHS = 20
"""So many workers may die in a row without one picture coming to its end."""


class Seat(Protocol):
    """A worker, which has one picture at a time."""

    @property
    def number(self) -> int:
        """Its place, 0..seats - 1; the worker that replaces it has the same."""

    def give(self, work: Work) -> None:
        """Let it begin. Raises `RestoreError` where the picture cannot be handed over."""

    def hear(self) -> Outcome | float | None:
        """What it has to say: the end of its picture, how much of it is done (0..1), or nothing yet.

        Raises `WorkerDied`, and `RestoreError` where the result cannot be taken over.
        """

    def stop(self) -> None:
        """Ask it to stop; it answers with an outcome that says so."""

    def close(self) -> None:
        """End it, whatever it does."""


class Engine(Protocol):
    """Where the workers are."""

    @property
    def seats(self) -> int:
        """How many work at once."""

    def open_seat(self, number: int) -> Seat:
        """A new worker."""

    def ready(self, seats: Sequence[Seat], seconds: float) -> Sequence[Seat]:
        """Those that have something to say, or none after so many seconds."""

    def close(self) -> None:
        """Let go of what the seats share."""


class Dispatch:
    """One batch on its way through the workers of an engine.

    A worker is opened when there is a picture for it. A picture whose worker dies is given to another one; where
    that dies too, the picture has failed.
    """

    def __init__(self, engine: Engine, works: Iterator[Work]) -> None:
        self._engine, self._works = engine, works
        self._idle: list[Seat] = []
        self._busy: dict[Seat, Work] = {}
        self._again: deque[Work] = deque()
        self._died_once: set[str] = set()
        self._deaths = 0

    def run(self, control: Control) -> Iterator[Outcome | Going]:
        """What becomes of every picture, in the order in which they end.

        Ends early when `control` is cancelled. Raises `BatchError` where workers do nothing but die.
        """
        try:
            while not _is_cancelled(control):
                yield from self._give_out()
                if not self._busy:
                    return
                for seat in self._engine.ready(tuple(self._busy), POLL_SECONDS):
                    yield from self._hear(seat)
            yield from self._stop()
        finally:
            for seat in (*self._idle, *self._busy):
                seat.close()

    def _give_out(self) -> Iterator[Outcome]:
        while len(self._busy) < self._engine.seats:
            work = self._again.popleft() if self._again else next(self._works, None)
            if work is None:
                return
            seat = self._idle.pop() if self._idle else self._engine.open_seat(self._free_number())
            try:
                seat.give(work)
            except RestoreError as error:
                self._idle.append(seat)
                yield Outcome(work, reason=str(error))
            else:
                self._busy[seat] = work

    def _free_number(self) -> int:
        taken = {seat.number for seat in self._busy}
        return next(number for number in range(self._engine.seats) if number not in taken)

    def _hear(self, seat: Seat) -> Iterator[Outcome | Going]:
        try:
            said = seat.hear()
        except WorkerDied as death:
            yield from self._replace(seat, death)
            return
        except RestoreError as error:
            said = Outcome(self._busy[seat], reason=str(error))
        if isinstance(said, Outcome):
            if said.stopped:  # by somebody else
                yield from self._replace(seat, WorkerDied("the worker was told to stop from outside"))
                return
            self._deaths = 0
            self._died_once.discard(said.work.source)
            del self._busy[seat]
            self._idle.append(seat)
            yield said
        elif said is not None:
            yield Going(self._busy[seat], said)

    def _replace(self, seat: Seat, death: WorkerDied) -> Iterator[Outcome]:
        work = self._busy.pop(seat)
        seat.close()
        self._deaths += 1
        if self._deaths >= MOST_DEATHS:
            raise BatchError(
                f"{self._deaths} workers died one after another; the last: {death.message}",
                "try one picture by restore4k restore; then call the same command again",
            )
        if work.source in self._died_once:
            self._died_once.discard(work.source)
            yield Outcome(work, reason=f"two workers died over it; the second: {death.message}")
        else:
            self._died_once.add(work.source)
            self._again.append(work)

    def _stop(self) -> Iterator[Outcome]:
        """Tell all to stop; those that have just ended their picture still count."""
        for seat in self._busy:
            seat.stop()
        deadline = time.monotonic() + GRACE_SECONDS
        while self._busy and time.monotonic() < deadline:
            for seat in self._engine.ready(tuple(self._busy), POLL_SECONDS):
                try:
                    said = seat.hear()
                except RestoreError:
                    said = Outcome(self._busy[seat], stopped=True)
                if isinstance(said, Outcome):
                    del self._busy[seat]
                    seat.close()
                    if not said.stopped:
                        yield said


def _is_cancelled(control: Control) -> bool:
    try:
        control.check()
    except Cancelled:
        return True
    return False
