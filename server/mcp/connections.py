"""HTTP connections with limits on how many wait for an admitted request, and for how long."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

ADMIT = "restore4k.admit"
"""Key of `scope["extensions"]`: the function to call when the request is admitted."""
MOST_WAITING = 128
"""Connections that wait for a request to be admitted; the oldest is closed for a new one."""
SECONDS_TO_BE_ADMITTED = 15.0


class Connection(H11Protocol):
    """A connection of uvicorn that is closed if no request of it is admitted in time.

    The time between two requests counts too. Before the admission it holds at most the head of a request (h11 limits
    it) and the beginning of a body (uvicorn then stops reading).
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._served = False
        self._timer: TimerHandle | None = None
        app: Any = self.app

        async def with_extension(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "extensions": {ADMIT: self._admit}}, receive, send)

        self.app: Any = with_extension

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Make room for this connection; clients that were served before are disconnected last."""
        super().connection_made(transport)
        waiting = [each for each in self.connections if isinstance(each, Connection) and each._timer]
        if len(waiting) >= MOST_WAITING:
            min(waiting, key=lambda each: (each._served, each._deadline))._hang_up()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._wait()
        super().on_response_complete()

    @property
    def _deadline(self) -> float:
        return self._timer.when() if self._timer else 0.0

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(SECONDS_TO_BE_ADMITTED, self._hang_up)

    def _stop_waiting(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _hang_up(self) -> None:
        self._stop_waiting()  # connection_lost is called later
        self.transport.abort()

    def _admit(self) -> None:
        self._served = True
        self._stop_waiting()
