"""Notifications of changed resources: `subscriptions/listen` (2026-07-28) and `resources/subscribe` (2025).

A client is notified only of changes made by its own calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ServerEvent
from mcp.types import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    EmptyResult,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

from server.auth.clients import current_client

MOST_WATCHED = 256
"""Maximum subscriptions of one connection."""
MOST_CONNECTIONS = 256
"""Maximum connections of one client that have subscribed; the oldest is dropped for a new one."""
SECONDS_TO_TAKE_NEWS = 1.0
"""A connection that does not take a notification within this time loses its subscriptions."""


@dataclass(frozen=True, slots=True)
class _Watch:
    """The subscriptions of one connection, and a session to notify it."""

    session: ServerSession
    uris: set[str] = field(default_factory=set)


class Subscriptions:
    """A separate bus for every client, and the subscriptions of clients of the 2025 revisions.

    The SDK gives a handler no public handle of its connection: the parameters of `initialize`, one object for each
    connection, identify it.
    """

    def __init__(self) -> None:
        self._buses: defaultdict[str, InMemorySubscriptionBus] = defaultdict(InMemorySubscriptionBus)
        self._watches: defaultdict[str, dict[int, _Watch]] = defaultdict(dict)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Add a listener for the calling client, as the SDK's `SubscriptionBus` requires."""
        return self._buses[current_client()].subscribe(listener)

    async def publish(self, event: ServerEvent) -> None:
        """Notify the client in whose call the change happens."""
        await self._buses[current_client()].publish(event)
        if not isinstance(event, ResourceUpdated):
            return
        watches = self._watches[current_client()]
        notification = ResourceUpdatedNotification(params=ResourceUpdatedNotificationParams(uri=event.uri))
        for key, watch in [item for item in watches.items() if event.uri in item[1].uris]:
            if not await _notified(watch.session, notification):
                watches.pop(key, None)

    def serve_to(self, server: Server[Any]) -> None:
        """Serve `resources/subscribe` and `resources/unsubscribe`, which the SDK then advertises at `initialize`."""
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._add)
        server.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._remove)

    async def _add(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        """Add a subscription. The resource need not exist: the client is simply never notified of it."""
        watches = self._watches[current_client()]
        watch = watches.setdefault(_connection(ctx), _Watch(ctx.session))
        if len(watch.uris) >= MOST_WATCHED:
            raise MCPError(INVALID_REQUEST, f"more than {MOST_WATCHED} subscriptions; unsubscribe from some")
        watch.uris.add(str(params.uri))
        if len(watches) > MOST_CONNECTIONS:
            watches.pop(next(iter(watches)))
        return EmptyResult()

    async def _remove(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        if watch := self._watches[current_client()].get(_connection(ctx)):
            watch.uris.discard(str(params.uri))
        return EmptyResult()


def _connection(ctx: ServerRequestContext[Any, Any]) -> int:
    """A key of the connection, unique as long as a session of it is held. There is none before `initialize`."""
    if ctx.session.client_params is None:
        raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
    return id(ctx.session.client_params)


async def _notified(session: ServerSession, notification: ResourceUpdatedNotification) -> bool:
    """Whether the connection took the notification."""
    with anyio.move_on_after(SECONDS_TO_TAKE_NEWS):
        try:
            await session.send_notification(notification)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True
    return False
