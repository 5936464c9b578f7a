"""Notifications of changed resources, sent from the worker thread of a run."""

from __future__ import annotations

from dataclasses import dataclass

import anyio.from_thread
import anyio.lowlevel
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent, SubscriptionBus

from agent.events import CandidateJudged, Event, Finished, Progress, Started
from server.mcp.resources import REPORT, TRACE


@dataclass(frozen=True, slots=True)
class Notices:
    """The notifications of one call to subscribed clients."""

    bus: SubscriptionBus
    loop: anyio.lowlevel.EventLoopToken

    @classmethod
    def here(cls, bus: SubscriptionBus) -> Notices:
        """Notices of work that this event loop starts."""
        return cls(bus, anyio.lowlevel.current_token())

    def of_event(self, run: str, event: Event) -> None:
        """Notify of the changes by an event: always the trace; the report per step; the list at start and end."""
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
            return  # the server is shutting down
