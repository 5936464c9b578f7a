"""Clients of the server over HTTP, each with a secret token and folders of its own."""

from __future__ import annotations

import hashlib
import hmac
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias, TypeVar

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl, BaseModel, Field, SecretStr, TypeAdapter, ValidationError

from server.errors import RequestError
from server.settings import ServerSettings

T = TypeVar("T")

CallerName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
"""Name of a client, and of its folders."""
SHORTEST_TOKEN = 32
MAX_BYTES = 1 << 20
HINT = (
    'one table per client, for example [alice], with token = "..." of at least 32 characters '
    '(python -c "import secrets; print(secrets.token_urlsafe(32))") and allow = ["/folder"]'
)


class NamedClient(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """One table of a clients file."""

    token: SecretStr = Field(min_length=SHORTEST_TOKEN)
    """The token that the client sends as `Authorization: Bearer ...`."""
    allow: tuple[Path, ...] = ()
    """Folders that the client may read, instead of the server's; its own output folder is always allowed."""


class Callers(Protocol):
    """Authentication of clients over HTTP, and the folders of each."""

    @property
    def auth(self) -> AuthSettings:
        """The SDK's settings for requests without a token."""

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token's client as `client_id`; None if no client has this token."""

    def folders(self, name: str) -> Sequence[Path]:
        """The folders that the client may read besides its own output folder."""


def load_clients(file: Path) -> dict[str, NamedClient]:
    """The clients of a TOML file by name. Raises `RequestError`, which never quotes a token."""
    clients = parsed(file, TypeAdapter(dict[CallerName, NamedClient]), HINT, private=True)
    if len({client.token.get_secret_value() for client in clients.values()}) < max(1, len(clients)):
        raise RequestError(f"{file} has no clients, or two clients with the same token", HINT)
    return clients


def parsed(file: Path, form: TypeAdapter[T], hint: str, *, private: bool = False) -> T:
    """The values of a TOML file, which if `private` only its user may read. Raises `RequestError` without values."""
    try:
        with file.open("rb") as stream:
            if private and stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise RequestError(f"{file} can be read by others on this machine", f"chmod 600 {file}")
            text = stream.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise RequestError(f"{file} has more than {MAX_BYTES} bytes", hint)
        return form.validate_python(tomllib.loads(text.decode("utf-8")))
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}", "give the file of your clients") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise RequestError(f"{file}, {where}: {first['msg']}", hint) from None
    except (ValueError, RecursionError):
        raise RequestError(f"{file} is not TOML", hint) from None  # the parser quotes the file


class Tokens:
    """Authenticates clients by their tokens; keeps only digests of the tokens."""

    auth = AuthSettings(issuer_url=AnyHttpUrl("https://restore4k.invalid"), resource_server_url=None)
    """The SDK requires the URL of an authorization server; there is none, and the URL is not used."""

    def __init__(self, clients: Mapping[str, NamedClient]) -> None:
        self._clients = clients
        self._digests = {name: _digest(client.token.get_secret_value()) for name, client in clients.items()}

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token's client. Compares with every digest in constant time, so that timing reveals nothing."""
        given = _digest(token)
        matches = [name for name, digest in self._digests.items() if hmac.compare_digest(digest, given)]
        return AccessToken(token=token, client_id=matches[0], scopes=[]) if matches else None

    def folders(self, name: str) -> Sequence[Path]:
        """The folders of the client's table."""
        return self._clients[name].allow


def current_client() -> str:
    """The name of the calling client; empty if no token is required."""
    token = get_access_token()
    return token.client_id if token else ""


def settings_of(name: str, allow: Sequence[Path], settings: ServerSettings) -> ServerSettings:
    """The server's settings with the client's own folders."""
    return replace(
        settings,
        allowed=tuple(folder.expanduser().absolute() for folder in allow),
        output=settings.output / name,
        workspace=settings.workspace / name,
        runs=settings.runs / name,
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
