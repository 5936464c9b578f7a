"""Who hears of a change: clients that listen (2026-07-28) or have subscribed (2025), each of his own things alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import anyio
from mcp import MCPError
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ServerEvent
from mcp.types import INVALID_REQUEST, EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams

from server.auth.clients import current_client

MOST_WATCHED = 256
"""Of one connection."""
SECONDS_TO_TAKE_NEWS = 1.0
"""A client that has not taken a notice by then hears no more."""


class Subscriptions:
    """A bus of its own for every client; what happens in a client's call is told on his."""

    def __init__(self) -> None:
        self._buses: defaultdict[str, InMemorySubscriptionBus] = defaultdict(InMemorySubscriptionBus)
        self._watched: defaultdict[str, dict[Connection, set[str]]] = defaultdict(dict)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """As the SDK wants it, for the client whose call this is."""
        return self._buses[current_client()].subscribe(listener)

    async def publish(self, event: ServerEvent) -> None:
        """Tell the client in whose call this happens."""
        await self._buses[current_client()].publish(event)
        if not isinstance(event, ResourceUpdated):
            return
        watching = self._watched[current_client()]
        for connection in [one for one, addresses in watching.items() if event.uri in addresses]:
            with anyio.move_on_after(SECONDS_TO_TAKE_NEWS) as late:
                await connection.notify("notifications/resources/updated", {"uri": event.uri})
            if late.cancelled_caught:
                watching.pop(connection, None)

    async def watch(self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        """`resources/subscribe`. What does not exist may be watched; nothing is ever told of it."""
        connection, watching = context.session._connection, self._watched[current_client()]
        if connection not in watching:
            watching[connection] = set()
            connection.exit_stack.callback(watching.pop, connection, None)
        if len(watching[connection]) >= MOST_WATCHED:
            raise MCPError(INVALID_REQUEST, f"more than {MOST_WATCHED} subscriptions; unsubscribe from some")
        watching[connection].add(str(params.uri))
        return EmptyResult()

    async def unwatch(self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        """`resources/unsubscribe`."""
        self._watched[current_client()].get(context.session._connection, set()).discard(str(params.uri))
        return EmptyResult()
