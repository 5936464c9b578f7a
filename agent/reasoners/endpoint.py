"""A model behind an OpenAI-compatible chat endpoint: vLLM, Ollama, LM Studio, a cloud; set up by the environment."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from agent.errors import ModelError
from agent.reasoners.model_reasoner import Question, Reply
from agent.reasoners.sheet import mime_type
from imaging.progress import ProgressToken

if TYPE_CHECKING:
    import httpx2

URL, MODEL, KEY = "RESTORE4K_LLM_URL", "RESTORE4K_LLM_MODEL", "RESTORE4K_LLM_KEY"
SECONDS, PRICE_IN, PRICE_OUT = "RESTORE4K_LLM_SECONDS", "RESTORE4K_LLM_PRICE_IN", "RESTORE4K_LLM_PRICE_OUT"
HOW_TO_SET = f"set {URL} (for example http://localhost:11434/v1) and {MODEL}"
DEFAULT_SECONDS = 120.0
CONNECT_SECONDS = 5.0
RETRIES = 2
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
BUSY = (408, 429, 500, 502, 503, 504)
TOO_MUCH_ASKED = (400, 422)
"""How endpoints refuse a parameter that they do not know."""
MOST_REPLY_BYTES = 1 << 20
MOST_ERROR_CHARACTERS = 200
MOST_TOKENS = 1000
TEMPERATURE = 0.2
POLL_SECONDS = 0.1
PROBE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is, and what a question to it may take."""

    url: str
    """Of the API, without chat/completions."""
    model: str
    key: str = field(default="", repr=False)
    seconds: float = DEFAULT_SECONDS
    """For one question, repetitions included."""
    price_in: float | None = None
    """US dollars per million tokens."""
    price_out: float | None = None
    seed: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Endpoint | None:
        """As the environment says; None where it says nothing. Raises `ModelError` for what cannot be meant."""
        import httpx2

        variables = os.environ if environment is None else environment
        url, model = variables.get(URL, "").strip(), variables.get(MODEL, "").strip()
        if not url:
            return None
        if not model:
            raise ModelError(f"{MODEL} is not set", "name the model that the endpoint shall use")
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise ModelError(f"{URL} is no URL: {error}", HOW_TO_SET) from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ModelError(f"{URL} must begin with http:// or https://", HOW_TO_SET)
        if parsed.userinfo:
            raise ModelError(f"{URL} holds a name or password", f"put the key into {KEY} instead")
        return cls(
            url=url,
            model=model,
            key=_key(variables),
            seconds=_number(variables, SECONDS) or DEFAULT_SECONDS,
            price_in=_number(variables, PRICE_IN),
            price_out=_number(variables, PRICE_OUT),
        )

    @property
    def place(self) -> str:
        """The host, as it may be shown."""
        import httpx2

        url = httpx2.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode()}"

    def ask(self, question: Question, token: ProgressToken) -> Reply:
        """The model's reply. Raises `ModelError`, and `Cancelled` within a tenth of a second."""
        from concurrent.futures import wait

        from anyio.from_thread import start_blocking_portal

        with start_blocking_portal() as portal:
            future = portal.start_task_soon(self._ask, question)
            try:
                while not wait([future], POLL_SECONDS).done:
                    token.check()
            finally:
                future.cancel()
            return future.result()

    def problem(self) -> str:
        """Why it cannot be used now, as far as that shows without a question; empty where nothing shows."""
        import httpx2

        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            with httpx2.stream("GET", self._address("models"), headers=headers, timeout=PROBE_SECONDS) as response:
                status = response.status_code
        except (httpx2.HTTPError, UnicodeEncodeError) as error:
            return self._clean(str(error) or repr(error))
        return f"it answers {status}; {_advice(status)}" if status in (401, 403) or status >= 500 else ""

    async def _ask(self, question: Question) -> Reply:
        import anyio
        import httpx2

        headers = {"accept-encoding": "identity"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        timeout = httpx2.Timeout(self.seconds, connect=min(CONNECT_SECONDS, self.seconds))
        try:
            with anyio.fail_after(self.seconds):
                async with httpx2.AsyncClient(timeout=timeout, headers=headers) as client:
                    return self._read(await self._post(client, question))
        except TimeoutError:
            raise ModelError(f"{self.place} gave no answer within {self.seconds:g} seconds") from None
        except httpx2.HTTPError as error:
            raise ModelError(f"{self.place} cannot be used: {self._clean(str(error) or repr(error))}") from None
        except UnicodeEncodeError:
            raise ModelError(f"{KEY} holds letters that no key has") from None

    async def _post(self, client: httpx2.AsyncClient, question: Question) -> bytes:
        """The body of a good answer; tried again where the endpoint is busy, or knows fewer parameters than we."""
        import anyio
        import httpx2

        body, pause, left = self._body(question), FIRST_PAUSE, RETRIES
        while True:
            try:
                status, wanted, answer = await self._once(client, body)
            except httpx2.ConnectError:
                raise
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                if not left:
                    raise
                status, wanted, answer = BUSY[-1], 0.0, b""
            if status == 200:
                return answer
            if status in TOO_MUCH_ASKED and len(body) > 2:
                body = {name: body[name] for name in ("model", "messages")}
                continue
            if status not in BUSY or not left:
                variables = self._clean(answer.decode("utf-8", "replace"))
                raise ModelError(f"{self.place} answered {status}: {variables or 'nothing'}", _advice(status))
            left -= 1
            await anyio.sleep(min(max(pause, wanted), LONGEST_PAUSE))
            pause *= 2

    async def _once(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> tuple[int, float, bytes]:
        """Status, seconds that the endpoint asks us to wait, and the body."""
        async with client.stream("POST", self._address("chat/completions"), json=body) as response:
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > MOST_REPLY_BYTES:
                    raise ModelError(f"{self.place} answered with more than {MOST_REPLY_BYTES} bytes")
            wanted = response.headers.get("retry-after", "")
            return response.status_code, float(wanted) if wanted.isdecimal() else 0.0, bytes(answer)

    def _address(self, what: str) -> httpx2.URL:
        import httpx2

        url = httpx2.URL(self.url)
        return url.copy_with(path=f"{url.path.rstrip('/').removesuffix('/chat/completions')}/{what}")

    def _body(self, question: Question) -> dict[str, Any]:
        pictures = [
            f"data:{mime_type(picture)};base64,{base64.b64encode(picture).decode('ascii')}"
            for picture in question.pictures
        ]
        content = [
            {"type": "text", "text": question.text},
            *({"type": "image_url", "image_url": {"url": picture}} for picture in pictures),
        ]
        return {
            "model": self.model,
            "messages": [{"role": "system", "content": question.system}, {"role": "user", "content": content}],
            "temperature": TEMPERATURE,
            "seed": self.seed,
            "max_tokens": MOST_TOKENS,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": question.form, "strict": False},
            },
        }

    def _read(self, answer: bytes) -> Reply:
        try:
            completion = _Completion.model_validate_json(answer)
        except ValidationError as error:
            raise ModelError(
                f"{self.place} does not answer as a chat endpoint: {error.errors()[0]['msg']}", "check the URL"
            ) from None
        choice, usage = completion.choices[0], completion.usage or _Usage()
        prices = (self.price_in, self.price_out)
        tokens = (usage.prompt_tokens, usage.completion_tokens)
        costs = [price * count / 1e6 for price, count in zip(prices, tokens, strict=True) if price is not None]
        return Reply(self._without_key(choice.message.content or ""), *tokens, sum(costs) if costs else None)

    def _without_key(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text

    def _clean(self, text: str) -> str:
        return " ".join(self._without_key(text).split())[:MOST_ERROR_CHARACTERS]


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0, le=10**9)
    completion_tokens: int = Field(default=0, ge=0, le=10**9)


class _Completion(BaseModel):
    """What we read of a chat completion."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def _key(variables: Mapping[str, str]) -> str:
    key = variables.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError(f"{KEY} holds characters that no key has", "give one key, on one line")
    return key


def _number(variables: Mapping[str, str], name: str) -> float | None:
    text = variables.get(name, "").strip()
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value < 1e6:
        raise ModelError(f"{name}={text!r} is no number of 0 or more")
    return value


def _advice(status: int) -> str:
    if status in (401, 403):
        return f"check {KEY}"
    return f"check {URL} and {MODEL}" if status == 404 else ""
