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
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ServerEvent
from mcp.types import (
    INVALID_REQUEST,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

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
    """A separate bus for every client, and the middleware for clients of the 2025 revisions.

    MCPServer has no `resources/subscribe`, and extensions may not add methods of the specification; a middleware is
    the SDK's public way to serve one. The SDK gives a handler no public handle of its connection: the parameters of
    `initialize`, one object for each connection, identify it.
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

    async def middleware(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Serve `resources/subscribe` and `resources/unsubscribe`, and advertise them at `initialize`."""
        if ctx.method == "initialize":
            return _advertised(await call_next(ctx))
        is_notification = ctx.request_id is None
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS or ctx.session.client_params is None or is_notification:
            return await call_next(ctx)
        match ctx.method:
            case "resources/subscribe":
                asked = SubscribeRequestParams.model_validate(ctx.params or {}, by_name=False)
                self._watch(ctx.session, str(asked.uri))
            case "resources/unsubscribe":
                unasked = UnsubscribeRequestParams.model_validate(ctx.params or {}, by_name=False)
                if watch := self._watches[current_client()].get(_connection(ctx.session)):
                    watch.uris.discard(str(unasked.uri))
            case _:
                return await call_next(ctx)
        return {}

    def _watch(self, session: ServerSession, uri: str) -> None:
        """Add a subscription. The resource need not exist: the client is simply never notified of it."""
        watches = self._watches[current_client()]
        watch = watches.setdefault(_connection(session), _Watch(session))
        if len(watch.uris) >= MOST_WATCHED:
            raise MCPError(INVALID_REQUEST, f"more than {MOST_WATCHED} subscriptions; unsubscribe from some")
        watch.uris.add(uri)
        if len(watches) > MOST_CONNECTIONS:
            watches.pop(next(iter(watches)))


def _connection(session: ServerSession) -> int:
    """A key of the session's connection, unique as long as a session of it is held."""
    return id(session.client_params)


async def _notified(session: ServerSession, notification: ResourceUpdatedNotification) -> bool:
    """Whether the connection took the notification."""
    with anyio.move_on_after(SECONDS_TO_TAKE_NEWS):
        try:
            await session.send_notification(notification)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True
    return False


def _advertised(result: HandlerResult) -> HandlerResult:
    if isinstance(result, dict):
        result["capabilities"]["resources"]["subscribe"] = True
    return result
