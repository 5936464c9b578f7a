"""Telling listening clients that a resource has changed, out of the thread in which the work is done."""

from __future__ import annotations

from dataclasses import dataclass

import anyio.from_thread
import anyio.lowlevel
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent, SubscriptionBus

from agent.events import CandidateJudged, Event, Finished, Progress, Started
from server.mcp.resources import REPORT, TRACE


@dataclass(frozen=True, slots=True)
class Notices:
    """Of one call. Clients that have subscribed hear of a change and read again what they want."""

    bus: SubscriptionBus
    loop: anyio.lowlevel.EventLoopToken

    @classmethod
    def here(cls, bus: SubscriptionBus) -> Notices:
        """For work that is started from this event loop."""
        return cls(bus, anyio.lowlevel.current_token())

    def of_event(self, run: str, event: Event) -> None:
        """What an event of a run changes: its trace always, its report with every step, the list with its ends."""
        if isinstance(event, Progress):
            return
        self._publish(ResourceUpdated(uri=TRACE.format(run=run)))
        if not isinstance(event, CandidateJudged):
            self._publish(ResourceUpdated(uri=REPORT.format(run=run)))
        if isinstance(event, Started | Finished):
            self._publish(ResourcesListChanged())

    def _publish(self, event: ServerEvent) -> None:
        try:
            anyio.from_thread.run(self.bus.publish, event, token=self.loop)
        except RuntimeError:
            return  # the server is going down: nobody listens any more
