"""Which valid URLs are fetched. The network is a real transport of httpx2 without wires."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from server.errors import BadAddress
from server.mcp.fetching import Fetcher, is_public

PUBLIC = "93.184.215.14"
Answer = Callable[[httpx2.Request], httpx2.Response]


def fetcher(response: Answer, names: dict[str, list[str]] | None = None, max_bytes: int = 1000) -> Fetcher:
    def resolve(host: str) -> list[str]:
        if names is None:
            return [PUBLIC]
        if host not in names:
            raise OSError("unknown")
        return names[host]

    return Fetcher(max_bytes, resolve, httpx2.MockTransport(response))


def picture(request: httpx2.Request) -> httpx2.Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"the "
        yield b"picture"

    return httpx2.Response(200, content=parts())


def test_a_picture_comes_from_the_address_that_was_checked_and_for_its_name() -> None:
    seen: list[httpx2.Request] = []

    def response(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return picture(request)

    assert fetcher(response).fetch("https://photos.example/a.png?b=1") == b"the picture"
    assert str(seen[0].url) == f"https://{PUBLIC}/a.png?b=1"
    assert seen[0].headers["host"] == "photos.example"
    assert seen[0].extensions["sni_hostname"] == "photos.example"
    assert "authorization" not in seen[0].headers


PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.8", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "::ffff:0:127.0.0.1", "::ffff:0:a00:1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1", "5f00::1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:7f00:1::", "fec0::1", "2001:db8::1",
    "no address",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_into_a_private_network_is_refused(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(BadAddress, match="private network"):
        fetcher(picture, {"innocent.example": [PUBLIC, address]}).fetch("https://innocent.example/x.png")


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700:4700::1111"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://photos.example/x.png", "only https"),
        ("file:///etc/passwd", "only https"),
        ("gopher://photos.example/", "only https"),
        ("data:image/png;base64,AAAA", "only https"),
        ("//photos.example/x.png", "only https"),
        ("", "only https"),
        ("https://user:secret@photos.example/x.png", "neither user nor password"),
        ("https:///x.png", "has a host"),
        ("https://photos.example:22/x.png", "port 22"),
        ("https://photos.example:99999/x.png", "valid URL|port 99999"),
        ("https://nobody.example/x.png", "no host"),
        ("https://photos.example\r\nX-Evil: 1/", "valid URL"),
    ],
)
def test_odd_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(BadAddress, match=message):
        fetcher(picture, {"photos.example": [PUBLIC]}).fetch(address)


def test_numbers_in_other_guises_are_what_they_resolve_to() -> None:
    for host in ("2130706433", "0x7f000001", "127.1", "localhost", "[::1]"):
        with pytest.raises(BadAddress):
            Fetcher(1000, transport=httpx2.MockTransport(picture)).fetch(f"https://{host}/x.png")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("https://inside.example/x", "private network"),
        ("http://photos.example/x", "only https"),
        ("https://127.0.0.1/x", "private network"),
        ("//inside.example/x", "private network"),
        ("file:///etc/passwd", "only https"),
        ("https://photos.example/again", "more than 3 times"),
    ],
)
def test_a_redirect_is_checked_like_an_address(target: str, message: str) -> None:
    def response(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(302, headers={"location": target})

    names = {"photos.example": [PUBLIC], "inside.example": ["10.0.0.1"], "127.0.0.1": ["127.0.0.1"]}
    with pytest.raises(BadAddress, match=message):
        fetcher(response, names).fetch("https://photos.example/x.png")


def test_a_name_is_resolved_once_so_that_it_cannot_change_between_check_and_connection() -> None:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return [PUBLIC if len(asked) == 1 else "127.0.0.1"]

    assert Fetcher(1000, resolve, httpx2.MockTransport(picture)).fetch("https://rebinding.example/") == b"the picture"
    assert asked == ["rebinding.example"]


def test_too_many_bytes_are_not_read_to_their_end() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield bytes(100)

    with pytest.raises(BadAddress, match="more than 1000 bytes"):
        fetcher(lambda request: httpx2.Response(200, content=endless())).fetch("https://photos.example/x.png")
    assert sent <= 1200


class Rerouted(httpx2.AsyncHTTPTransport):
    """A real transport that connects to a server of the test, whatever the address."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = httpx2.URL(self._url)
        return await super().handle_async_request(request)


@pytest.mark.parametrize("kind", ["drips its head", "drips its body", "is silent"])
def test_a_host_has_so_many_seconds_whatever_it_sends_meanwhile(hostile_host: Any, kind: str) -> None:
    slow = Fetcher(10**6, lambda host: [PUBLIC], Rerouted(hostile_host(kind)), seconds=0.5)
    with pytest.raises(BadAddress, match=r"longer than 0\.5 s"):
        slow.fetch("https://photos.example/x.png")


def test_a_download_ends_when_its_call_is_given_up(hostile_host: Any) -> None:
    token = ProgressToken()
    threading.Timer(0.3, token.cancel).start()
    with pytest.raises(Cancelled):
        Fetcher(10**6, lambda host: [PUBLIC], Rerouted(hostile_host("drips its body"))).fetch(
            "https://a.example", token
        )


def test_errors_and_cancelling_end_it() -> None:
    with pytest.raises(BadAddress, match="answers 404"):
        fetcher(lambda request: httpx2.Response(404)).fetch("https://photos.example/x.png")

    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused by 10.0.0.1")

    with pytest.raises(BadAddress, match="ConnectError") as caught:
        fetcher(broken).fetch("https://photos.example/x.png")
    assert "10.0.0.1" not in str(caught.value)
    token = ProgressToken()
    token.cancel()
    with pytest.raises(Cancelled):
        fetcher(picture).fetch("https://photos.example/x.png", token)
