"""A resource server: tokens of an authorization server on a real port are checked, and people kept apart."""

from __future__ import annotations

import hmac
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from server.auth.oauth import OAuth, OAuthSettings
from server.mcp.app import build_server, web_app
from server.settings import ServerSettings
from tests.hostile_hosts import HOSTILE

pytestmark = pytest.mark.anyio
RESOURCE = "https://photos.example.org/mcp"
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
METADATA = "/.well-known/oauth-protected-resource/mcp"
Serving = Callable[..., AbstractContextManager[str]]


@dataclass
class Issuer:
    """An authorization server as far as a resource server sees it: its keys, and the tokens that it gives."""

    url: str = ""
    keys: dict[str, Any] = field(default_factory=lambda: {"one": rsa.generate_private_key(65537, 2048)})
    asked: int = 0

    def jwks(self, _: Request) -> Response:
        self.asked += 1
        return JSONResponse({"keys": [self._public(kid, key) for kid, key in self.keys.items()]})

    @staticmethod
    def _public(kid: str, key: Any) -> dict[str, Any]:
        algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
        return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}

    def token(self, key: Any = None, kid: str = "one", algorithm: str = "RS256", **claims: Any) -> str:
        """A good one, but for what is said; claims of None are left out."""
        now = int(time.time())
        standard_claims = {
            "iss": self.url, "aud": RESOURCE, "sub": "alice@example.org", "scope": "openid restore", "iat": now,
            "exp": now + 600, **claims,
        }  # fmt: skip
        kept = {name: value for name, value in standard_claims.items() if value is not None}
        return jwt.encode(kept, key if key is not None else self.keys[kid], algorithm, {"kid": kid})


@pytest.fixture
def issuer(serving: Serving) -> Iterator[Issuer]:
    issuer = Issuer()
    routes = [Route("/keys", issuer.jwks), Route("/moved", lambda _: RedirectResponse("/keys"))]
    with serving(Starlette(routes=routes), path="") as url:
        issuer.url = url
        yield issuer


def settings_for(issuer: Issuer, photos: Any, **others: Any) -> OAuthSettings:
    people = {"alice": {"subject": "alice@example.org", "allow": [str(photos.folder)]}, "bob": {"subject": "bob"}}
    return OAuthSettings.model_validate(
        {
            "issuer": issuer.url, "keys": f"{issuer.url}/keys", "resource": RESOURCE, "scopes": ["restore"],
            "people": people, **others,
        }
    )  # fmt: skip


@pytest.fixture
def url(settings: ServerSettings, photos: Any, issuer: Issuer, serving: Serving) -> Iterator[str]:
    with serving(web_app(build_server(settings, OAuth(settings_for(issuer, photos))))) as address:
        yield address


async def status_of(url: str, token: str | None) -> httpx2.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(timeout=20) as http:
        return await http.post(url, content=PING, headers={**ACCEPT, **headers})


@asynccontextmanager
async def client_of(url: str, token: str, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def test_a_401_response_names_the_authorization_server(url: str, issuer: Issuer) -> None:
    answer = await status_of(url, None)
    assert answer.status_code == 401
    header = answer.headers["www-authenticate"]
    assert header.startswith("Bearer ")
    assert f'resource_metadata="https://photos.example.org{METADATA}"' in header
    async with httpx2.AsyncClient() as http:
        metadata = (await http.get(url.removesuffix("/mcp") + METADATA)).json()
    assert metadata["resource"] == RESOURCE
    assert metadata["authorization_servers"] == [issuer.url]
    assert metadata["scopes_supported"] == ["restore"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_good_token_opens_the_folders_of_its_subject(
    url: str, issuer: Issuer, photos: Any, facts: Any, settings: ServerSettings, mode: str
) -> None:
    async with client_of(url, issuer.token(), mode) as alice, client_of(url, issuer.token(sub="bob"), mode) as bob:
        denoise = {"image": str(photos.noisy), "expert": "tv_denoise"}
        done = await alice.call_tool("denoise", denoise)
        assert not done.is_error, done
        assert Path(facts(done)["file"]).parent == settings.output / "alice"
        handle = facts(done)["handle"]
        assert (await alice.read_resource(f"image://{handle}")).contents
        refused = await bob.call_tool("denoise", denoise)
        assert refused.is_error
        assert "outside the allowed folders" in refused.content[0].text
        refused = await bob.call_tool("analyze_quality", {"image": handle})
        assert "no image" in refused.content[0].text
        with pytest.raises(Exception, match="no image"):
            await bob.read_resource(f"image://{handle}")
        assert handle not in str(await bob.list_resources())
    assert issuer.asked == 1


def _resign(token: str, head: dict[str, str], signature: str = "") -> str:
    encoded = jwt.utils.base64url_encode(json.dumps(head).encode()).decode()
    return f"{encoded}.{token.split('.')[1]}.{signature}"


def _by_public_key(issuer: Issuer) -> str:
    """What libraries without a list of algorithms take for signed."""
    public = issuer.keys["one"].public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    unsigned = _resign(issuer.token(), {"alg": "HS256", "kid": "one"}).rpartition(".")[0]
    return f"{unsigned}.{jwt.utils.base64url_encode(hmac.digest(secret, unsigned.encode(), 'sha256')).decode()}"


BAD: dict[str, Callable[[Issuer], str]] = {
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 60),
    "not yet": lambda issuer: issuer.token(nbf=int(time.time()) + 600),
    "for another server": lambda issuer: issuer.token(aud="https://other.example.org/mcp"),
    "for a page of this server": lambda issuer: issuer.token(aud=f"{RESOURCE}/other"),
    "for nobody": lambda issuer: issuer.token(aud=None),
    "of another issuer": lambda issuer: issuer.token(iss="https://evil.example"),
    "that never expires": lambda issuer: issuer.token(exp=None),
    "of nobody": lambda issuer: issuer.token(sub=None),
    "of a number": lambda issuer: issuer.token(sub=42),
    "of somebody without a table": lambda issuer: issuer.token(sub="mallory"),
    "of one whose subject is our name for another": lambda issuer: issuer.token(sub="alice"),
    "with another's key": lambda issuer: issuer.token(key=rsa.generate_private_key(65537, 2048)),
    "with a key of nobody": lambda issuer: issuer.token(key=rsa.generate_private_key(65537, 2048), kid="two"),
    "without a signature": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "alg none": lambda issuer: _resign(issuer.token(), {"alg": "none", "kid": "one", "typ": "JWT"}),
    "alg None": lambda issuer: _resign(issuer.token(), {"alg": "None", "kid": "one"}),
    "by the public key as a secret": lambda issuer: _by_public_key(issuer),
    "by an algorithm that is not allowed": lambda issuer: issuer.token(algorithm="RS384"),
    "that brings its own key": lambda issuer: jwt.encode(
        {"iss": issuer.url, "aud": RESOURCE, "sub": "alice@example.org", "exp": time.time() + 60, "scope": "restore"},
        (own := ec.generate_private_key(ec.SECP256R1())),
        "ES256",
        {"kid": "mine", "jwk": Issuer._public("mine", own), "jku": "https://evil.example/keys"},
    ),
    "that is none": lambda issuer: "a.b.c",
    "of dots": lambda issuer: "." * 100,
    "of sixty kilobytes": lambda issuer: "x" * 60_000,
    "whose head is nested": lambda issuer: f"{jwt.utils.base64url_encode(b'[' * 9000).decode()}.e30.x",
    "whose head is a list": lambda issuer: "W10." + issuer.token().partition(".")[2],
}


async def test_bad_tokens_are_refused(url: str, issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    for kind, make in BAD.items():
        caplog.clear()
        token = make(issuer)
        answer = await status_of(url, token)
        assert answer.status_code == 401, kind
        assert "resource_metadata=" in answer.headers["www-authenticate"], kind
        assert 'error="invalid_token"' in answer.headers["www-authenticate"], kind
        assert "a token was refused" in caplog.text, kind
        assert token[-40:] not in caplog.text + answer.text, kind
    assert (await status_of(url, issuer.token())).status_code != 401


async def test_a_token_without_the_scope_is_not_enough(url: str, issuer: Issuer) -> None:
    for without in ("openid", None, "restored", "", {"restore": True}, ["restored"]):
        answer = await status_of(url, issuer.token(scope=without))
        assert answer.status_code == 403, without
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    for claims in ({"scp": ["openid", "restore"]}, {"scp": "restore"}, {"scope": ["restore"]}):
        answer = await status_of(url, issuer.token(**{"scope": None, **claims}))
        assert answer.status_code == 400, claims  # let in; a bare ping is no request of either era


async def test_a_session_belongs_to_the_subject_that_opened_it(url: str, issuer: Issuer) -> None:
    version = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    hello = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": version}).encode()
    async with httpx2.AsyncClient(timeout=20) as http:
        alice = {**ACCEPT, "authorization": f"Bearer {issuer.token()}"}
        opened = await http.post(url, content=hello, headers=alice)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        bob = {**ACCEPT, "authorization": f"Bearer {issuer.token(sub='bob')}"}
        assert (await http.post(url, content=PING, headers={**bob, **session})).status_code == 404
        assert (await http.post(url, content=PING, headers={**alice, **session})).status_code == 200


async def test_other_subjects_get_their_own_folders_if_they_are_allowed(photos: Any, issuer: Issuer) -> None:
    oauth = OAuth(settings_for(issuer, photos, others=True))
    names = set()
    for subject in ("../../etc", "alice", "mallory"):
        access = await oauth.verify_token(issuer.token(sub=subject))
        assert access
        assert access.client_id.startswith("user-")
        assert not oauth.folders(access.client_id)
        names.add(access.client_id)
    assert len(names) == 3


async def test_a_new_key_of_the_issuer_is_fetched_and_an_old_one_goes_on(
    photos: Any, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    oauth = OAuth(settings_for(issuer, photos))
    assert await oauth.verify_token(issuer.token())
    issuer.keys["two"] = ec.generate_private_key(ec.SECP256R1())
    new = issuer.token(kid="two", algorithm="ES256")
    assert not await oauth.verify_token(new)  # strangers could make us ask for every key that they make up
    later = time.monotonic() + 60
    monkeypatch.setattr("server.auth.oauth.time", SimpleNamespace(monotonic=lambda: later))
    assert await oauth.verify_token(new)
    assert await oauth.verify_token(issuer.token())
    assert issuer.asked == 2


async def test_without_the_issuers_keys_every_token_is_refused(
    photos: Any, issuer: Issuer, hostile_host: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the issuer sends, and within so many seconds."""
    monkeypatch.setattr("server.auth.oauth.SECONDS_FOR_KEYS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/keys"
        for keys in (dead, f"{issuer.url}/moved", f"{issuer.url}/absent", *map(hostile_host, HOSTILE)):
            with caplog.at_level(logging.ERROR), anyio.fail_after(10):
                assert not await OAuth(settings_for(issuer, photos, keys=keys)).verify_token(issuer.token())
            assert f"the keys at {keys} cannot be fetched" in caplog.text


async def test_an_issuer_that_stops_responding_does_not_delay_known_clients(
    photos: Any, issuer: Issuer, hostile_host: Any
) -> None:
    oauth = OAuth(settings_for(issuer, photos))
    good, unknown = issuer.token(), issuer.token(key=rsa.generate_private_key(65537, 2048), kid="two")
    assert await oauth.verify_token(good)
    oauth._keys._address = hostile_host("drips its head")
    oauth._keys._asked_again_from = 0.0
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(oauth.verify_token, unknown)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(2):  # the issuer has five seconds
            assert await oauth.verify_token(good)
        group.cancel_scope.cancel()
