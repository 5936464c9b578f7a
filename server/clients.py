"""Who may use the server over HTTP: named clients, each with a secret token and folders of its own."""

from __future__ import annotations

import hashlib
import hmac
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from server.errors import RequestError
from server.settings import ServerSettings

NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,31}"
SHORTEST_TOKEN = 32
MAX_BYTES = 1 << 20
HINT = (
    'one table per client, for example [alice], with token = "..." of at least 32 characters '
    '(python -c "import secrets; print(secrets.token_urlsafe(32))") and allow = ["/folder"]'
)


class NamedClient(BaseModel):
    """One table of a clients file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: SecretStr = Field(min_length=SHORTEST_TOKEN)
    """What it sends as `Authorization: Bearer ...`."""
    allow: tuple[Path, ...] = ()
    """Folders that it may read, instead of the server's; its own output folder is always among them."""


def load_clients(file: Path) -> dict[str, NamedClient]:
    """The clients of a TOML file by name. Raises `RequestError`, which never holds a token."""
    try:
        with file.open("rb") as stream:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise RequestError(f"{file} can be read by others on this machine", f"chmod 600 {file}")
            text = stream.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise RequestError(f"{file} has more than {MAX_BYTES} bytes", HINT)
        clients = TypeAdapter(dict[str, NamedClient]).validate_python(tomllib.loads(text.decode("utf-8")))
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}", "give the file of your clients") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise RequestError(f"{file} is not TOML", HINT) from None  # the parser quotes what it read
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise RequestError(f"{file}, {'.'.join(map(str, first['loc']))}: {first['msg']}", HINT) from None
    for name in clients:
        if not re.fullmatch(NAME_PATTERN, name):
            raise RequestError(f"{file}: {name!r} is no name for a client", "use a-z, 0-9, - and _")
    if len({client.token.get_secret_value() for client in clients.values()}) < max(1, len(clients)):
        raise RequestError(f"{file} has no clients, or two with one token", HINT)
    return clients


class Tokens:
    """Knows clients by their tokens; keeps only the tokens' digests."""

    def __init__(self, clients: Mapping[str, NamedClient]) -> None:
        self._digests = {name: _digest(client.token.get_secret_value()) for name, client in clients.items()}

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose token it is; all are compared, each in constant time, so that the time tells nothing."""
        given = _digest(token)
        matches = [name for name, digest in self._digests.items() if hmac.compare_digest(digest, given)]
        return AccessToken(token=token, client_id=matches[0], scopes=[]) if matches else None


def current_client() -> str:
    """The name of the client whose call this is; empty where nobody is asked for a token."""
    token = get_access_token()
    return token.client_id if token else ""


def settings_of(name: str, allow: Sequence[Path], settings: ServerSettings) -> ServerSettings:
    """The server's settings with folders of the client's own."""
    return replace(
        settings,
        allowed=tuple(folder.expanduser().absolute() for folder in allow),
        output=settings.output / name,
        workspace=settings.workspace / name,
        runs=settings.runs / name,
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
