"""Clients over HTTP with JWT access tokens of an OAuth authorization server, which are verified here."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import logging
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import anyio
import jwt
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, Field, TypeAdapter

from server.auth.clients import CallerName, Callers, Tokens, load_clients, parsed
from server.errors import RequestError

SECONDS_FOR_KEYS = 5.0
"""Time limit of one fetch of the issuer's keys, from connection to the last byte."""
KEYS_LIVE_SECONDS = 3600.0
CLOCKS_DIFFER_SECONDS = 30
SECONDS_AFTER_FAILURE = 10.0
"""Pause after a failed fetch; cached keys are used meanwhile."""
SECONDS_BETWEEN_FETCHES = 30.0
"""Pause after a successful fetch, before another unknown key causes the next one."""
MAX_KEYS_BYTES = 1 << 18
HINT = (
    'issuer = "https://...", keys = "https://..." (its JWKS), resource = "https://.../mcp" (this server\'s address), '
    'and [people.NAME] tables with subject = "..." and allow = ["/folder"]; docs/serving.md shows one'
)

log = logging.getLogger("restore4k")


def _safe(url: str) -> str:
    """Validate a URL but keep its spelling: issuer and audience are compared as strings."""
    parts = TypeAdapter(AnyHttpUrl).validate_python(url)
    if parts.scheme != "https" and not _is_loopback(parts.host or ""):
        raise ValueError("only https is safe; http is allowed for this machine only")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


Address: TypeAlias = Annotated[str, AfterValidator(_safe)]
Algorithm: TypeAlias = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""Asymmetric signature algorithms."""


class Person(BaseModel, frozen=True, extra="forbid"):
    """One table of `people`."""

    subject: str = Field(min_length=1)
    """The subject in the issuer's tokens (`sub`)."""
    allow: tuple[Path, ...] = ()
    """Folders that the person may read; their own output folder is always allowed."""


class OAuthSettings(BaseModel, frozen=True, extra="forbid"):
    """An OAuth file."""

    issuer: Address
    """Issuer of the tokens (`iss`), from which clients get them."""
    keys: Address
    """The issuer's JWKS."""
    resource: Address
    """URL of this server for clients."""
    audience: str = ""
    """Audience of the tokens (`aud`), if it is not `resource`."""
    scopes: tuple[str, ...] = ()
    """Scopes that a token must have."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    others: bool = False
    """Whether subjects without a table are served; they can read no folder."""
    people: dict[CallerName, Person] = {}


def load_oauth(file: Path) -> OAuthSettings:
    """Load an OAuth file. Raises `RequestError`."""
    settings = parsed(file, TypeAdapter(OAuthSettings), HINT)
    if len({person.subject for person in settings.people.values()}) < len(settings.people):
        raise RequestError(f"{file} has two people with the same subject", HINT)
    if not settings.people and not settings.others:
        raise RequestError(f"{file} allows no client", "name people, or set others = true")
    return settings


def callers_of(clients: Path | None, oauth: Path | None) -> Callers | None:
    """The clients of either file; None without a file. Raises `RequestError`."""
    if clients and oauth:
        raise RequestError("--clients and --oauth exclude each other", "give one of them")
    if oauth:
        return OAuth(load_oauth(oauth))
    return Tokens(load_clients(clients)) if clients else None


class _Keys:
    """The issuer's signing keys. One request at a time fetches them; requests with a known key do not wait."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._keys: dict[str, jwt.PyJWK] = {}
        self._valid_until = self._asked_again_from = 0.0
        self._asking = anyio.Lock()

    async def get(self, name: str) -> jwt.PyJWK | None:
        """The key of that name (`kid`); an unknown name causes a fetch, unless the last one is too recent."""
        if not self._knows(name):
            async with self._asking:
                if not self._knows(name) and time.monotonic() >= self._asked_again_from:
                    self._asked_again_from = time.monotonic() + SECONDS_AFTER_FAILURE
                    self._keys = await self._fetched()
                    self._valid_until = time.monotonic() + KEYS_LIVE_SECONDS
                    self._asked_again_from = time.monotonic() + SECONDS_BETWEEN_FETCHES
        return self._keys[name] if self._knows(name) else None

    def _knows(self, name: str) -> bool:
        return name in self._keys and time.monotonic() < self._valid_until

    async def _fetched(self) -> dict[str, jwt.PyJWK]:
        """Fetch the key set, without redirects. Raises `PyJWKClientConnectionError`."""
        import httpx2

        try:
            with anyio.fail_after(SECONDS_FOR_KEYS):
                verify = ssl.create_default_context()
                async with (
                    httpx2.AsyncClient(verify=verify, headers={"accept-encoding": "identity"}) as client,
                    client.stream("GET", self._address) as response,
                ):
                    response.raise_for_status()
                    body = bytearray()
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > MAX_KEYS_BYTES:
                            raise ValueError(f"more than {MAX_KEYS_BYTES} bytes")
            found = jwt.PyJWKSet.from_dict(json.loads(body)).keys
            return {key.key_id: key for key in found if key.key_id and key.public_key_use in ("sig", None)}
        except Exception as error:  # any fault of the answer
            raise jwt.PyJWKClientConnectionError(f"{type(error).__name__}: {error}") from error


class OAuth:
    """Authenticates people by access tokens of one issuer for this server."""

    def __init__(self, settings: OAuthSettings) -> None:
        self._settings = settings
        self._names = {person.subject: name for name, person in settings.people.items()}
        self._keys = _Keys(settings.keys)

    @property
    def auth(self) -> AuthSettings:
        """Metadata for unauthenticated requests: where to get a token (RFC 9728), and its scopes."""
        return AuthSettings.model_validate(
            {
                "issuer_url": self._settings.issuer,
                "resource_server_url": self._settings.resource,
                "required_scopes": self._settings.scopes,
                "validate_token_resource": False,  # `verify_token` does this
            }
        )

    async def verify_token(self, token: str) -> AccessToken | None:
        """The client of the token: the name of its table, or one derived from its subject."""
        try:
            claims = await self._claims(token)
        except jwt.PyJWKClientConnectionError as error:
            log.error("the keys at %s cannot be fetched: %s", self._settings.keys, error)
            return None
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            log.warning("a token was refused: %s", type(error).__name__)
            return None
        subject = claims["sub"]
        name = self._names.get(subject)
        if name is None and self._settings.others:  # a unique name for a subject without a table
            name = f"user-{hashlib.sha256(f'{self._settings.issuer} {subject}'.encode()).hexdigest()[:24]}"
        if name is None:
            log.warning("a token was refused: there is no table for subject %r", subject[:200])
            return None
        return AccessToken(
            token=token,
            client_id=name,
            scopes=_scopes(claims),
            expires_at=int(claims["exp"]),
            subject=subject,
            claims={"iss": claims["iss"]},
        )

    def folders(self, name: str) -> Sequence[Path]:
        """The folders of the client's table; none without a table."""
        person = self._settings.people.get(name)
        return person.allow if person else ()

    async def _claims(self, token: str) -> dict[str, Any]:
        """The claims of a valid token. Raises `PyJWTError`; `ValueError` or `RecursionError` for malformed ones."""
        head = jwt.get_unverified_header(token)
        if head.get("alg") not in self._settings.algorithms:
            raise jwt.InvalidAlgorithmError
        key = await self._keys.get(str(head.get("kid")))
        if key is None:
            raise jwt.InvalidKeyError
        return jwt.decode(
            token,
            key,
            algorithms=self._settings.algorithms,
            audience=self._settings.audience or self._settings.resource,
            issuer=self._settings.issuer,
            leeway=CLOCKS_DIFFER_SECONDS,
            options={"require": ["iss", "aud", "exp", "sub"]},
        )


def _scopes(claims: dict[str, Any]) -> list[str]:
    """The scopes of a token: `scope`, a string (RFC 9068), or `scp`, a string (Entra) or a list (Okta)."""
    scope = claims.get("scope", claims.get("scp", ""))
    words = scope.split() if isinstance(scope, str) else scope
    return [str(word) for word in words] if isinstance(words, list) else []
