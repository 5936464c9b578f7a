"""Who may use the server over HTTP where an authorization server says who calls: JWT access tokens, checked here."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import anyio
import anyio.to_thread
import jwt
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, TypeAdapter

from server.auth.clients import CallerName, Callers, Tokens, load_clients, parsed
from server.errors import RequestError

SECONDS_FOR_KEYS = 5.0
KEYS_LIVE_SECONDS = 3600.0
CLOCKS_DIFFER_SECONDS = 30
SECONDS_AFTER_FAILURE = 10.0
"""So long an issuer that did not answer is not asked again; meanwhile the keys that are known serve."""
MOST_CHECKED_AT_ONCE = 4
"""So that an issuer that does not answer keeps no threads from those who are served."""
HINT = (
    'issuer = "https://...", keys = "https://..." (its JWKS), resource = "https://.../mcp" (this server\'s address), '
    'and [people.NAME] tables with subject = "..." and allow = ["/folder"]; docs/serving.md shows one'
)

log = logging.getLogger("restore4k")


def _safe(url: str) -> str:
    """Checked as an address but kept as it is written: issuer and audience are compared by character."""
    parts = TypeAdapter(AnyHttpUrl).validate_python(url)
    if parts.scheme != "https" and not _is_loopback(parts.host or ""):
        raise ValueError("only https is safe; http is for this machine alone")
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
"""Signatures by a key that the issuer alone has."""


class Person(BaseModel):
    """One table of `people`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: str = Field(min_length=1)
    """What the issuer calls him (`sub`)."""
    allow: tuple[Path, ...] = ()
    """Folders that he may read; his own output folder is always among them."""


class OAuthSettings(BaseModel):
    """An OAuth file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Address
    """As it stands in tokens (`iss`), and where clients go to get one."""
    keys: Address
    """The issuer's JWKS."""
    resource: Address
    """This server as clients know it."""
    audience: str = ""
    """What stands in tokens for this server (`aud`), where that is not `resource`."""
    scopes: tuple[str, ...] = ()
    """All of them are needed."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    others: bool = False
    """Whether somebody with a token but without a table is served; he reads no folder."""
    people: dict[CallerName, Person] = {}


def load_oauth(file: Path) -> OAuthSettings:
    """What an OAuth file says. Raises `RequestError`."""
    settings = parsed(file, TypeAdapter(OAuthSettings), HINT)
    if len({person.subject for person in settings.people.values()}) < len(settings.people):
        raise RequestError(f"{file} has two people with one subject", HINT)
    if not settings.people and not settings.others:
        raise RequestError(f"{file} lets nobody in", "name people, or set others = true")
    return settings


def callers_of(clients: Path | None, oauth: Path | None) -> Callers | None:
    """Those whom either file names; None where nobody is asked who he is. Raises `RequestError`."""
    if clients and oauth:
        raise RequestError("--clients and --oauth cannot both say who may call", "give one of them")
    if oauth:
        return OAuth(load_oauth(oauth))
    return Tokens(load_clients(clients)) if clients else None


class _Keys(jwt.PyJWKClient):
    """The issuer's keys; strangers cannot make everybody wait for an issuer that does not answer."""

    _asked_again_from = 0.0

    def fetch_data(self) -> Any:
        """As the library does it. Raises `PyJWKClientConnectionError`."""
        if time.monotonic() < self._asked_again_from:
            raise jwt.PyJWKClientConnectionError("asked just now")
        try:
            return super().fetch_data()
        except jwt.PyJWKClientConnectionError:
            self._asked_again_from = time.monotonic() + SECONDS_AFTER_FAILURE
            raise


class OAuth:
    """Knows people by access tokens of one issuer, made for this server."""

    def __init__(self, settings: OAuthSettings) -> None:
        self._settings = settings
        self._names = {person.subject: name for name, person in settings.people.items()}
        self._keys = _Keys(settings.keys, lifespan=KEYS_LIVE_SECONDS, timeout=SECONDS_FOR_KEYS)
        self._checked_at_once = anyio.CapacityLimiter(MOST_CHECKED_AT_ONCE)

    @property
    def auth(self) -> AuthSettings:
        """Strangers hear where to get a token (RFC 9728), and with which scopes."""
        return AuthSettings.model_validate(
            {
                "issuer_url": self._settings.issuer,
                "resource_server_url": self._settings.resource,
                "required_scopes": self._settings.scopes,
                "validate_token_resource": False,  # `verify_token` does
            }
        )

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose token it is, by the name of his table or one made of his subject."""
        try:
            claims = await anyio.to_thread.run_sync(self._claims, token, limiter=self._checked_at_once)
        except jwt.PyJWKClientConnectionError as error:
            log.error("the keys at %s cannot be had: %s", self._settings.keys, error)
            return None
        except (jwt.PyJWTError, ValueError) as error:
            log.warning("a token was refused: %s", type(error).__name__)
            return None
        subject = claims["sub"]
        name = self._names.get(subject) or (self._made_up(subject) if self._settings.others else None)
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
        """As his table says; without one none."""
        person = self._settings.people.get(name)
        return person.allow if person else ()

    def _claims(self, token: str) -> dict[str, Any]:
        """Of a token that is whole. Raises `PyJWTError`, and `ValueError` for odd ones."""
        if jwt.get_unverified_header(token).get("alg") not in self._settings.algorithms:
            raise jwt.InvalidAlgorithmError
        return jwt.decode(
            token,
            self._keys.get_signing_key_from_jwt(token),
            algorithms=self._settings.algorithms,
            audience=self._settings.audience or self._settings.resource,
            issuer=self._settings.issuer,
            leeway=CLOCKS_DIFFER_SECONDS,
            options={"require": ["iss", "aud", "exp", "sub"]},
        )

    def _made_up(self, subject: str) -> str:
        """A name for folders, which no two people share."""
        return f"user-{hashlib.sha256(f'{self._settings.issuer} {subject}'.encode()).hexdigest()[:24]}"


def _scopes(claims: dict[str, Any]) -> list[str]:
    """RFC 9068 says `scope`, words in a string; Entra and Okta say `scp`, the latter as a list."""
    scope = claims.get("scope", claims.get("scp", ""))
    words = scope.split() if isinstance(scope, str) else scope
    return [str(word) for word in words] if isinstance(words, list) else []
