"""Checks of the Host and Origin headers, against DNS rebinding and requests from foreign pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response

AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
"""`host[:port]` of RFC 9110 and nothing else: no user, no path."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The allowed values of `Host`, and the allowed origins of pages; all in lower case."""

    local: Sequence[str]
    """Names of this machine, allowed with any port, over http."""
    names: Sequence[str]
    """`HOST[:PORT]` under which clients reach this server, over https."""

    def refusal(self, headers: Headers) -> Response | None:
        """The error response to a request with another host or origin; None if the request is allowed."""
        host = headers.get("host", "").lower()
        if not self._is_local(host) and host not in self.names:
            return PlainTextResponse("Invalid Host header", 421)
        if not all(map(self._is_origin, headers.getlist("origin"))):
            return PlainTextResponse("Invalid Origin header", 403)
        return None

    def _is_origin(self, value: str) -> bool:
        scheme, _, authority = value.lower().partition("://")
        return self._is_local(authority) if scheme == "http" else scheme == "https" and authority in self.names

    def _is_local(self, authority: str) -> bool:
        parsed = AUTHORITY.fullmatch(authority)
        return parsed is not None and parsed[1] in self.local
