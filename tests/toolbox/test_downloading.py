"""Downloads from a server that breaks off, lies, redirects and forgets; nothing half or wrong gets its name."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from toolbox import downloading
from toolbox.downloading import address_of, pull
from toolbox.errors import DownloadFailed, WeightsError, WeightsMissing
from toolbox.store import ModelStore, WeightFile

REPOSITORY = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 12_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does, and what was asked of it."""

    content: bytes = CONTENT
    break_after: int | None = None
    """Bytes after which the first answers break off."""
    breaks: int = 0
    ranges: bool = True
    tells_length: bool = True
    status: int = 200
    redirect: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and range of each request."""
    tokens: list[str | None] = field(default_factory=list)
    port: int = 0


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        served = self.behaviour
        asked_range = self.headers.get("range")
        served.asked.append((self.path, asked_range))
        served.tokens.append(self.headers.get("authorization"))
        if served.redirect and self.path != "/moved":
            self.send_response(302)
            self.send_header("location", served.redirect)
            self.end_headers()
            return
        start = int(asked_range.removeprefix("bytes=").rstrip("-")) if asked_range and served.ranges else 0
        if start >= len(served.content) > 0 and start:
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else served.status)
        rest = served.content[start:]
        if served.tells_length:
            self.send_header("content-length", str(len(rest)))
        if start:
            self.send_header("content-range", f"bytes {start}-{len(served.content) - 1}/{len(served.content)}")
        self.end_headers()
        if served.breaks and served.break_after is not None:
            served.breaks -= 1
            rest = rest[: served.break_after]
        self.wfile.write(rest)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behaviour]:
    behaviour = Behaviour()
    handler = type("Told", (Handler,), {"behaviour": behaviour})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    behaviour.port = http.server_port
    threading.Thread(target=http.serve_forever, daemon=True).start()
    monkeypatch.setenv("RESTORE4K_MIRRORS", f"https://models.example=http://127.0.0.1:{http.server_port}")
    monkeypatch.setattr(downloading, "WAIT_SECONDS", 0.01)
    yield behaviour
    http.shutdown()
    http.server_close()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def weights(**changes: Any) -> WeightFile:
    facts = {"name": "net.pth", "urls": ("https://models.example/net.pth",), "size": len(CONTENT), "sha256": SHA256}
    return WeightFile.model_validate(facts | changes)


def left_over(store: ModelStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()} - {"index.json", "net.pth.lock"}


def test_a_file_arrives_whole_and_is_not_fetched_again(server: Behaviour, store: ModelStore) -> None:
    seen: list[float] = []
    path = pull(weights(), store, ProgressToken(seen.append))
    assert path.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert left_over(store) == {"net.pth"}
    assert pull(weights(), store) == path
    assert len(server.asked) == 1


def test_a_broken_connection_is_resumed(server: Behaviour, store: ModelStore) -> None:
    server.break_after, server.breaks = 1_000_000, 2
    assert pull(weights(), store).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000000-", "bytes=2000000-"]


def test_partial_downloads_of_an_earlier_call_are_kept(server: Behaviour, store: ModelStore) -> None:
    server.break_after, server.breaks = 500_000, 99
    with pytest.raises(DownloadFailed, match="failed 5 times"):
        pull(weights(), store)
    assert left_over(store) == {"net.pth.part"}
    server.breaks = 0
    assert pull(weights(), store).read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=2500000-"


def test_a_server_without_ranges_restarts_the_download(server: Behaviour, store: ModelStore) -> None:
    server.break_after, server.breaks, server.ranges = 1_000_000, 1, False
    assert pull(weights(), store).read_bytes() == CONTENT


def test_a_partial_file_larger_than_the_server_s_is_discarded(server: Behaviour, store: ModelStore) -> None:
    store.folder.mkdir()
    store.path("net.pth.part").write_bytes(b"x" * (len(CONTENT) + 5))
    assert pull(weights(size=None), store).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_wrong_bytes_never_get_the_name(size: int | None, server: Behaviour, store: ModelStore) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadFailed, match="sha256"):
        pull(weights(size=size), store)
    assert left_over(store) == set()


def test_a_size_other_than_published_is_refused_before_reading(server: Behaviour, store: ModelStore) -> None:
    server.content = CONTENT * 2
    with pytest.raises(DownloadFailed, match="offers"):
        pull(weights(), store)
    assert not store.has("net.pth")


def test_an_endless_source_is_given_up(server: Behaviour, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    server.tells_length = False
    monkeypatch.setattr(downloading, "MOST_BYTES", 1_000_000)
    with pytest.raises(DownloadFailed, match="sends more"):
        pull(weights(size=None, sha256=None), store)
    assert sum(path.stat().st_size for path in store.folder.iterdir()) < 1_000_000


def test_an_error_page_is_not_stored(server: Behaviour, store: ModelStore) -> None:
    server.status, server.content = 404, b"not here"
    with pytest.raises(DownloadFailed, match="answered 404"):
        pull(weights(), store)
    assert left_over(store) == set()


def test_redirects_are_followed_up_to_a_limit(server: Behaviour, store: ModelStore) -> None:
    server.redirect = "/moved"
    assert pull(weights(), store).read_bytes() == CONTENT
    server.redirect = "/round"
    with pytest.raises(DownloadFailed, match="redirects"):
        pull(weights(name="other.pth"), store)


def test_the_second_address_is_tried(server: Behaviour, store: ModelStore) -> None:
    urls = ("https://nowhere.invalid/net.pth", "https://models.example/net.pth")
    assert pull(weights(urls=urls), store).read_bytes() == CONTENT


def test_the_error_without_a_network_says_what_to_do(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "WAIT_SECONDS", 0.01)
    monkeypatch.setenv("RESTORE4K_MIRRORS", "https://models.example=http://127.0.0.1:9")
    with pytest.raises(DownloadFailed) as error:
        pull(weights(), store)
    assert "ConnectError" in error.value.message
    assert str(store.folder) in error.value.hint


def test_a_file_without_an_address_must_be_downloaded_by_hand(store: ModelStore) -> None:
    with pytest.raises(DownloadFailed, match="by hand") as error:
        pull(weights(urls=()), store)
    assert str(store.folder) in f"{error.value.hint}"


def test_a_download_can_be_cancelled(server: Behaviour, store: ModelStore) -> None:
    token = ProgressToken()
    with pytest.raises(Cancelled):
        pull(weights(), store, token.watched_by(lambda _: token.cancel()))
    assert not store.has("net.pth")
    assert pull(weights(), store).read_bytes() == CONTENT


def test_two_threads_download_a_file_once(server: Behaviour, store: ModelStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: pull(weights(), store), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.asked) == 1


def test_two_processes_download_a_file_of_the_hub_once(server: Behaviour, store: ModelStore) -> None:
    """The token is sent to the hub, and not to the host that it redirects to."""
    file = weights(urls=("hf://owner/repository/a b.pth",))
    program = (
        "from pathlib import Path\n"
        "from toolbox.downloading import pull\n"
        "from toolbox.store import ModelStore, WeightFile\n"
        f"file = WeightFile.model_validate_json({file.model_dump_json()!r})\n"
        f"print(pull(file, ModelStore(Path({str(store.folder)!r}))).stat().st_size)\n"
    )
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{server.port}", "HF_TOKEN": "secret"}
    server.redirect, server.break_after, server.breaks = f"http://localhost:{server.port}/moved", 1_000_000, 1
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **hub},
        )
        for _ in range(2)
    ]
    assert [int(one.communicate(timeout=60)[0]) for one in both] == [len(CONTENT)] * 2
    address = "/owner/repository/resolve/main/a%20b.pth"
    rest = "bytes=1000000-"
    assert server.asked == [(address, None), ("/moved", None), (address, rest), ("/moved", rest)]
    assert server.tokens == ["Bearer secret", None, "Bearer secret", None]
    assert left_over(store) == {"net.pth"}


def test_without_a_published_checksum_the_first_one_is_verified(server: Behaviour, store: ModelStore) -> None:
    file = weights(sha256=None, size=None)
    pull(file, store)
    assert store.verify(file) == SHA256
    store.path("net.pth").write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match="not"):
        store.verify(file)


def test_removing_a_file_returns_the_freed_bytes(server: Behaviour, store: ModelStore) -> None:
    pull(weights(), store)
    assert store.remove("net.pth") == len(CONTENT)
    with pytest.raises(WeightsMissing):
        store.verify(weights())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("hf://owner/repository/a/b c.pth", "https://huggingface.co/owner/repository/resolve/main/a/b%20c.pth"),
        ("https://models.example/x.pth", "http://mirror:8/deep/x.pth"),
        ("https://models.example.evil/x.pth", "https://models.example.evil/x.pth"),
    ],
)
def test_addresses_and_mirrors(url: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE4K_MIRRORS", "https://models.example/=http://mirror:8/deep/")
    assert address_of(url) == address


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "../net.pth"},
        {"name": ".net.pth"},
        {"name": "net.exe"},
        {"urls": ("http://models.example/net.pth",)},
        {"urls": ("file:///etc/passwd",)},
        {"sha256": "0"},
        {"size": 0},
    ],
)
def test_file_names_outside_the_store_and_other_url_schemes_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        weights(**bad)
