"""Downloads of weight files: resumed, verified, and moved into place when complete."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from imaging.progress import ProgressToken
from toolbox.errors import DownloadFailed
from toolbox.store import ModelStore, WeightFile, sha256_of

if TYPE_CHECKING:
    from httpx2 import Client, Response

MIRRORS_VARIABLE = "RESTORE4K_MIRRORS"
"""`https://huggingface.co=https://mirror.example,...`: URL prefixes and their replacements."""
HUGGING_FACE = "https://huggingface.co"
TOKEN_VARIABLE = "HF_TOKEN"
TRIES = 5
WAIT_SECONDS = 0.5
"""Before the second attempt; doubled before each further one."""
TIMEOUT_SECONDS = 30.0
MOST_REDIRECTS = 5
OK, PARTIAL, NOT_SATISFIABLE = 200, 206, 416
REDIRECTS = (301, 302, 303, 307, 308)


def pull(file: WeightFile, store: ModelStore, token: ProgressToken | None = None) -> Path:
    """Download one file into the store, unless it is there already. Returns its path.

    An interrupted download is resumed. The file gets its final name only after its size and sha256 were verified.
    Raises `DownloadFailed` with the error of each source, and `Cancelled`.
    """
    token = token or ProgressToken()
    store.path(file.name).parent.mkdir(parents=True, exist_ok=True)
    with _locked(store, file.name):
        if store.has(file.name):
            return store.path(file.name)
        if not file.urls:
            raise DownloadFailed(
                f"{file.name} has no download address",
                f"download it by hand from its page and put it into {store.folder}",
            )
        messages: list[str] = []
        for url in file.urls:
            try:
                return _pull_from(address_of(url), file, store, token)
            except DownloadFailed as error:
                messages.append(error.message)
        raise DownloadFailed(
            "; ".join(messages),
            f"check the network and try again (partial downloads are kept), or put {file.name} into {store.folder}",
        )


def address_of(url: str) -> str:
    """The https address of `url`, on a mirror if the user has set one."""
    if url.startswith("hf://"):
        owner, repository, path = url.removeprefix("hf://").split("/", 2)
        url = f"{HUGGING_FACE}/{owner}/{repository}/resolve/main/{quote(path)}"
    for pair in filter(None, os.environ.get(MIRRORS_VARIABLE, "").split(",")):
        original, _, mirror = pair.partition("=")
        if mirror and url.startswith(original.rstrip("/") + "/"):
            return mirror.rstrip("/") + url.removeprefix(original.rstrip("/"))
    return url


def _pull_from(url: str, file: WeightFile, store: ModelStore, token: ProgressToken) -> Path:
    import httpx2

    part = store.path(f"{file.name}.part")
    with httpx2.Client(
        timeout=TIMEOUT_SECONDS, headers={"user-agent": "restore4k", "accept-encoding": "identity"}
    ) as client:
        for attempt in range(TRIES):
            if attempt:
                _wait(WAIT_SECONDS * 2 ** (attempt - 1), token)
            try:
                if _fetch(client, url, file, part, token):
                    break
            except (httpx2.TransportError, OSError) as error:
                why = f"{type(error).__name__}: {error}".rstrip(": ")
        else:
            raise DownloadFailed(f"{url}: the connection failed {TRIES} times, most recently with {why}")
    return _move_into_place(url, file, store, part, token)


def _fetch(client: Client, url: str, file: WeightFile, part: Path, token: ProgressToken) -> bool:
    """Append the missing bytes to `part`; returns whether it is complete. Transport errors propagate."""
    have = part.stat().st_size if part.exists() else 0
    if file.size and have == file.size:
        return True
    with _opened(client, url, have) as response:
        if response.status_code == NOT_SATISFIABLE:  # the part is complete or too long: start again
            part.unlink()
            return False
        if response.status_code == OK:
            have = 0
        elif response.status_code != PARTIAL or not _continues(response, have):
            raise DownloadFailed(f"{url} answered {response.status_code}")
        rest = int(response.headers.get("content-length", 0))
        total = file.size or (have + rest if rest else None)
        if file.size and rest and have + rest != file.size:
            raise DownloadFailed(f"{url} offers {have + rest} bytes, not {file.size}")
        with part.open("ab" if have else "wb") as stream:
            for chunk in response.iter_raw():  # unbuffered, so that an interruption loses nothing
                stream.write(chunk)
                have += len(chunk)
                if file.size and have > file.size:
                    raise DownloadFailed(f"{url} sends more than {file.size} bytes")
                token.report(0.95 * have / total if total else 0.5)
    return total is None or have == total


def _continues(response: Response, have: int) -> bool:
    return bool(response.headers.get("content-range", "").startswith(f"bytes {have}-"))


@contextmanager
def _opened(client: Client, url: str, have: int) -> Iterator[Response]:
    """The response after redirects. Raises `DownloadFailed` if one leads from https to another scheme."""
    for _ in range(MOST_REDIRECTS):
        headers = {"range": f"bytes={have}-"} if have else {}
        token = os.environ.get(TOKEN_VARIABLE)
        if token and url.startswith(f"{HUGGING_FACE}/"):
            headers["authorization"] = f"Bearer {token}"
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code not in REDIRECTS:
                yield response
                return
            target = str(response.url.join(response.headers.get("location", "")))
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            raise DownloadFailed(f"{url} redirects to {target}, which is not https")
        url = target
    raise DownloadFailed(f"{url}: more than {MOST_REDIRECTS} redirects")


def _move_into_place(url: str, file: WeightFile, store: ModelStore, part: Path, token: ProgressToken) -> Path:
    found = sha256_of(part)
    if file.sha256 and found != file.sha256:
        part.unlink()
        raise DownloadFailed(f"{url} sent a file with sha256 {found}, not {file.sha256}; the file was deleted")
    part.replace(store.path(file.name))
    store.remember(file.name, sha256=found, url=url)
    token.report(1.0)
    return store.path(file.name)


def _wait(seconds: float, token: ProgressToken) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        token.check()
        time.sleep(min(0.05, seconds))


@contextmanager
def _locked(store: ModelStore, name: str) -> Iterator[None]:
    """Lock the file, so that a second process waits for the download and then uses it."""
    from filelock import FileLock

    with FileLock(store.path(f"{name}.lock")):
        yield
