"""Downloads of weight files: resumed, verified, and moved into place when complete.

Addresses and tokens of the Hugging Face Hub come from huggingface_hub. The transfer is ours: its `hf_hub_download`
cannot be stopped once a file turns out larger than published, nor resume a partial file from another source.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imaging.disk import require_space
from imaging.progress import ProgressToken, run_cancellable
from toolbox.errors import DownloadFailed
from toolbox.store import ModelStore, WeightFile, sha256_of

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

MIRRORS_VARIABLE = "RESTORE4K_MIRRORS"
"""`https://huggingface.co=https://mirror.example,...`: URL prefixes and their replacements."""
TRIES = 5
WAIT_SECONDS = 0.5
"""Wait before the second attempt; doubled before each further one."""
TIMEOUT_SECONDS = 30.0
MOST_BYTES = 64 << 30
"""Maximum size of a file whose size is unknown."""
START_SECONDS, LEAST_BYTES_PER_SECOND = 120.0, 10_000
"""A source is given up if it has not answered within the first, or is slower than the second after that time; with
the size of the file, this limits the duration of a download."""
MOST_REDIRECTS = 5
OK, PARTIAL, NOT_SATISFIABLE = 200, 206, 416
REDIRECTS = (301, 302, 303, 307, 308)


def pull(file: WeightFile, store: ModelStore, token: ProgressToken | None = None) -> Path:
    """Download one file into the store, unless it is there already. Returns its path.

    An interrupted download is resumed. The file gets its final name only after its size and sha256 were verified.
    Raises `DownloadFailed` with the error of each source, `ResourceError` if the disk is full, and `Cancelled`.
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
        from huggingface_hub import hf_hub_url

        owner, repository, path = url.removeprefix("hf://").split("/", 2)
        url = hf_hub_url(f"{owner}/{repository}", path)
    for pair in filter(None, os.environ.get(MIRRORS_VARIABLE, "").split(",")):
        original, _, mirror = pair.partition("=")
        if mirror and url.startswith(original.rstrip("/") + "/"):
            return mirror.rstrip("/") + url.removeprefix(original.rstrip("/"))
    return url


def _pull_from(url: str, file: WeightFile, store: ModelStore, token: ProgressToken) -> Path:
    import httpx2

    part = store.path(f"{file.name}.part")
    for attempt in range(TRIES):
        if attempt:
            _wait(WAIT_SECONDS * 2 ** (attempt - 1), token)
        try:
            if run_cancellable(token, lambda: _fetch(url, file, part, token)):
                break
        except (httpx2.TransportError, OSError) as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
    else:
        raise DownloadFailed(f"{url}: the connection failed {TRIES} times, most recently with {why}")
    return _move_into_place(url, file, store, part, token)


async def _fetch(url: str, file: WeightFile, part: Path, token: ProgressToken) -> bool:
    """Append the missing bytes to `part`; returns whether it is complete. Transport errors propagate."""
    import anyio
    import httpx2

    have = part.stat().st_size if part.exists() else 0
    if file.size and have == file.size:
        return True
    headers = {"user-agent": "restore4k", "accept-encoding": "identity"}
    async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, headers=headers) as client:
        try:
            with anyio.fail_after(START_SECONDS):  # the timeout above restarts with every byte
                response = await _opened(client, url, have)
        except TimeoutError as error:
            raise DownloadFailed(f"{url} did not answer within {START_SECONDS:g} s") from error
        async with aclosing(response):
            return await _stored(response, url, file, part, have, token)


async def _stored(
    response: Response, url: str, file: WeightFile, part: Path, have: int, token: ProgressToken
) -> bool:
    """Append the body to the first `have` bytes of `part`, or rewrite it; returns whether it is complete."""
    if response.status_code == NOT_SATISFIABLE:  # the part is complete or too long: start again
        part.unlink()
        return False
    if response.status_code == OK:
        have = 0
    elif response.status_code != PARTIAL or not _continues(response, have):
        raise DownloadFailed(f"{url} answered {response.status_code}")
    rest = int(response.headers.get("content-length", 0))
    total = file.size or (have + rest if rest else None)
    require_space(part.parent, total - have if total else 0)
    began, first = time.monotonic(), have
    if file.size and rest and have + rest != file.size:
        raise DownloadFailed(f"{url} offers {have + rest} bytes, not {file.size}")
    with part.open("ab" if have else "wb") as stream:
        async for chunk in response.aiter_raw():  # unbuffered, so that an interruption loses nothing
            stream.write(chunk)
            have += len(chunk)
            if have > (total or MOST_BYTES):
                stream.truncate(0)
                raise DownloadFailed(f"{url} sends more than {total or MOST_BYTES} bytes")
            seconds = time.monotonic() - began
            if seconds > START_SECONDS and have - first < LEAST_BYTES_PER_SECOND * seconds:
                raise DownloadFailed(f"{url} sends less than {LEAST_BYTES_PER_SECOND} bytes per second")
            token.report(0.95 * have / total if total else 0.5)
    return total is None or have == total


def _continues(response: Response, have: int) -> bool:
    return bool(response.headers.get("content-range", "").startswith(f"bytes {have}-"))


async def _opened(client: AsyncClient, url: str, have: int) -> Response:
    """The response after redirects, without its body.

    Raises `DownloadFailed` if one leads from https to another scheme.
    """
    for _ in range(MOST_REDIRECTS):
        response = await client.send(client.build_request("GET", url, headers=_headers(url, have)), stream=True)
        if response.status_code not in REDIRECTS:
            return response
        await response.aclose()
        target = str(response.url.join(response.headers.get("location", "")))
        if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
            raise DownloadFailed(f"{url} redirects to {target}, which is not https")
        url = target
    raise DownloadFailed(f"{url}: more than {MOST_REDIRECTS} redirects")


def _headers(url: str, have: int) -> dict[str, str]:
    """The range of the missing bytes, and the user's token for the Hugging Face Hub only."""
    from huggingface_hub import constants, get_token

    headers = {"range": f"bytes={have}-"} if have else {}
    if url.startswith(f"{constants.ENDPOINT}/") and (token := get_token()):
        headers["authorization"] = f"Bearer {token}"
    return headers


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
