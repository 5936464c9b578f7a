"""A fair queue: one job at a time, clients take turns, and every waiting call knows its position."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from server.errors import Busy

MOST_WAITING = 64
"""Maximum waiting calls in addition to the first of each client."""
MOST_WAITING_EACH = 16
"""Maximum waiting calls of one client."""


@dataclass(eq=False, slots=True)
class _Ticket:
    owner: str
    moved: Callable[[int], None]
    granted: anyio.Event = field(default_factory=anyio.Event)


class FairQueue:
    """The queue for a resource that one job at a time may use, such as a device.

    The client that was served longest ago is next, so that one busy client does not block the others.
    """

    def __init__(self, most: int = MOST_WAITING, most_each: int = MOST_WAITING_EACH) -> None:
        self._most, self._most_each = most, most_each
        self._running: _Ticket | None = None
        self._waiting: list[_Ticket] = []
        self._served: dict[str, int] = {}
        self._count = 0

    @asynccontextmanager
    async def enter(self, owner: str, moved: Callable[[int], None]) -> AsyncIterator[None]:
        """Join the queue and wait for the turn, which ends when the block is left.

        `moved` is called with the position in the queue, 1 being next. Raises `Busy` if too many calls are waiting.
        """
        ticket = _Ticket(owner, moved)
        self._join(ticket)
        try:
            await ticket.granted.wait()
            yield
        finally:
            self._leave(ticket)

    def _join(self, ticket: _Ticket) -> None:
        own = sum(waiting.owner == ticket.owner for waiting in self._waiting)
        if own >= self._most_each or (own and len(self._waiting) >= self._most):
            raise Busy(
                f"busy: {len(self._waiting)} calls are waiting, {own} of them yours",
                "wait until some have finished, then call again",
            )
        self._waiting.append(ticket)
        self._grant_next()

    def _leave(self, ticket: _Ticket) -> None:
        if self._running is ticket:
            self._running = None
        else:
            self._waiting.remove(ticket)
        self._grant_next()

    def _grant_next(self) -> None:
        order = self._order()
        if self._running is None and order:
            self._running = order.pop(0)
            self._waiting.remove(self._running)
            self._served[self._running.owner] = self._count
            self._count += 1
            self._running.granted.set()
        for position, ticket in enumerate(order, start=1):
            ticket.moved(position)
        if self._running is None:
            self._served.clear()

    def _order(self) -> list[_Ticket]:
        """The waiting calls in the order in which they will be served."""
        rest, served, order = list(self._waiting), dict(self._served), list[_Ticket]()
        while rest:
            first = min(rest, key=lambda ticket: served.get(ticket.owner, -1))
            rest.remove(first)
            order.append(first)
            served[first.owner] = self._count + len(order)
        return order
