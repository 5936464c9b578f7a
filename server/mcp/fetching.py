"""Fetch images from the web if the server allows it: only over https, never from a private network."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imaging.progress import ProgressToken, run_cancellable
from server.errors import BadAddress

if TYPE_CHECKING:
    from httpx2 import URL, AsyncBaseTransport, Response

HTTPS_PORT = 443
OK = 200
MOST_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
SECONDS_PER_READ = 10.0
SECONDS_IN_ALL = 60.0
HINT = "give a public https address of an image file, or send a data: URI"
UNICAST = ipaddress.ip_network("2000::/3")
"""Global unicast (RFC 4291). Addresses outside are local, or embed an IPv4 address: mapped, translated, NAT64."""
EMBEDDING = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32")))
"""Networks of `UNICAST` whose addresses embed an IPv4 address: 6to4 and Teredo."""
ISATAP, ISATAP_MASK = 0x5EFE, 0xFDFFFFFF
"""Interface identifiers that embed an IPv4 address in any network (RFC 5214)."""
PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")
"""IETF protocol assignments, of which older versions of Python know only some."""


def resolve(host: str) -> list[str]:
    """All addresses of a host name. Raises `OSError`."""
    found = socket.getaddrinfo(host, HTTPS_PORT, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches files of at most `max_bytes`."""

    max_bytes: int
    resolve: Callable[[str], list[str]] = resolve
    transport: AsyncBaseTransport | None = None
    """Replaces the network in tests."""
    seconds: float = SECONDS_IN_ALL

    def fetch(self, address: str, token: ProgressToken | None = None) -> bytes:
        """Fetch a URL, following at most three redirects. Raises `BadAddress`, and `Cancelled` by the token.

        Every name is resolved once, all its addresses must be public, and the connection goes to the very address
        that was checked; the certificate is checked against the name.
        """
        import httpx2

        try:
            return run_cancellable(token or ProgressToken(), lambda: self._fetch(address))
        except TimeoutError as error:
            raise BadAddress(f"the address takes longer than {self.seconds:g} s", HINT) from error
        except httpx2.InvalidURL as error:
            raise BadAddress(f"{address[:200]!r} is not a valid URL: {error}", HINT) from error
        except (httpx2.HTTPError, OSError) as error:
            raise BadAddress(f"the address does not answer: {type(error).__name__}", HINT) from error

    async def _fetch(self, address: str) -> bytes:
        """As `fetch`. Raises `TimeoutError` after `seconds` in all, even if data still arrives."""
        import anyio
        import httpx2

        with anyio.fail_after(self.seconds):
            async with httpx2.AsyncClient(
                timeout=SECONDS_PER_READ,
                trust_env=False,  # a proxy would resolve the name again
                transport=self.transport,
                headers={"user-agent": "restore4k", "accept": "image/*", "accept-encoding": "identity"},
            ) as client:
                for _ in range(MOST_REDIRECTS + 1):
                    url = _checked(address)
                    pinned = url.copy_with(host=await self._public_address(url.host))
                    request = client.build_request(
                        "GET", pinned, headers={"host": url.host}, extensions={"sni_hostname": url.host}
                    )
                    async with aclosing(await client.send(request, stream=True)) as response:
                        if response.status_code not in REDIRECTS:
                            return await self._body(response, url.host)
                        address = str(url.join(response.headers.get("location", "")))
        raise BadAddress(f"the address redirects more than {MOST_REDIRECTS} times", HINT)

    async def _public_address(self, host: str) -> str:
        import anyio.to_thread

        try:
            found = await anyio.to_thread.run_sync(self.resolve, host, abandon_on_cancel=True)
        except (OSError, UnicodeError) as error:
            raise BadAddress(f"there is no host {host!r}", HINT) from error
        if not found or not all(map(is_public, found)):
            raise BadAddress(f"{host!r} resolves to a private network", HINT)
        return found[0]

    async def _body(self, response: Response, host: str) -> bytes:
        if response.status_code != OK:
            raise BadAddress(f"{host} answers {response.status_code}", HINT)
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self.max_bytes:
                raise BadAddress(f"{host} sends more than {self.max_bytes} bytes", HINT)
        return bytes(body)


def is_public(address: str) -> bool:
    """Whether an IP address is public, also when it embeds an IPv4 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip not in UNICAST or any(ip in network for network in EMBEDDING) or int(ip) >> 32 & ISATAP_MASK == ISATAP:
            return False
    return ip.is_global and not ip.is_multicast and ip not in PROTOCOLS


def _checked(address: str) -> URL:
    import httpx2

    url = httpx2.URL(address)
    if url.scheme != "https":
        raise BadAddress(f"only https is allowed, not {url.scheme or 'an address without scheme'!r}", HINT)
    if not url.host or url.userinfo:
        raise BadAddress("an address has a host and neither user nor password", HINT)
    if url.port not in (None, HTTPS_PORT):
        raise BadAddress(f"port {url.port} is not allowed", HINT)
    return url
