"""A model behind an OpenAI-compatible chat endpoint, configured by environment variables."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from agent.errors import ModelError
from agent.reasoners.model_reasoner import Question, Reply
from agent.reasoners.sheet import mime_type
from imaging.progress import ProgressToken, run_cancellable

if TYPE_CHECKING:
    import httpx2
    from tenacity import RetryCallState

URL, MODEL, KEY = "RESTORE4K_LLM_URL", "RESTORE4K_LLM_MODEL", "RESTORE4K_LLM_KEY"
SECONDS, PRICE_IN, PRICE_OUT = "RESTORE4K_LLM_SECONDS", "RESTORE4K_LLM_PRICE_IN", "RESTORE4K_LLM_PRICE_OUT"
HOW_TO_SET = f"set {URL} (for example http://localhost:11434/v1) and {MODEL}"
DEFAULT_SECONDS = 120.0
CONNECT_SECONDS = 5.0
ATTEMPTS = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
BUSY = (408, 429, 500, 502, 503, 504)
"""Statuses after which the request is retried."""
PARAMETERS_REJECTED = (400, 422)
"""Statuses with which endpoints refuse a parameter that they do not support."""
MOST_REPLY_BYTES = 1 << 20
MOST_ERROR_CHARACTERS = 200
MOST_TOKENS = 1000
TEMPERATURE = 0.2
PROBE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of the model, and the limits and prices of a question to it."""

    url: str
    """Base URL of the API, without chat/completions."""
    model: str
    key: str = field(default="", repr=False)
    seconds: float = DEFAULT_SECONDS
    """Time limit of one question, retries included."""
    price_in: float | None = None
    """US dollars per million tokens."""
    price_out: float | None = None
    seed: int = 0

    @classmethod
    def from_environment(cls) -> Endpoint | None:
        """The endpoint that the environment configures, or None without a URL. Raises `ModelError` if invalid."""
        import httpx2

        url, model = os.environ.get(URL, "").strip(), os.environ.get(MODEL, "").strip()
        if not url:
            return None
        if not model:
            raise ModelError(f"{MODEL} is not set", "set it to the name of a model of the endpoint")
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise ModelError(f"{URL} is not a URL: {error}", HOW_TO_SET) from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ModelError(f"{URL} must begin with http:// or https://", HOW_TO_SET)
        if parsed.userinfo:
            raise ModelError(f"{URL} contains a user name or password", f"put the key into {KEY} instead")
        return cls(
            url=url,
            model=model,
            key=_key(),
            seconds=_number(SECONDS) or DEFAULT_SECONDS,
            price_in=_number(PRICE_IN),
            price_out=_number(PRICE_OUT),
        )

    @property
    def place(self) -> str:
        """Scheme and host, without secrets, for messages."""
        import httpx2

        url = httpx2.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode()}"

    def ask(self, question: Question, token: ProgressToken) -> Reply:
        """Ask the model. Raises `ModelError`, and `Cancelled` within 0.1 s of the cancellation."""
        return run_cancellable(token, lambda: self._ask(question))

    def problem(self) -> str:
        """Why the endpoint cannot be used, as far as a request for its models shows, or an empty string."""
        import httpx2

        try:
            status = run_cancellable(ProgressToken(), self._probe)
        except TimeoutError:
            return f"it did not answer within {PROBE_SECONDS:g} seconds"
        except (httpx2.HTTPError, UnicodeEncodeError) as error:
            return self._clean(str(error) or repr(error))
        return f"it answers {status}; {_advice(status)}" if status in (401, 403) or status >= 500 else ""

    async def _probe(self) -> int:
        """The HTTP status of the list of models. Raises `TimeoutError`, also if the response arrives too slowly."""
        import anyio
        import httpx2

        with anyio.fail_after(PROBE_SECONDS):
            async with (
                httpx2.AsyncClient(timeout=PROBE_SECONDS, headers=self._headers) as client,
                client.stream("GET", self._address("models")) as response,
            ):
                return response.status_code

    async def _ask(self, question: Question) -> Reply:
        import anyio
        import httpx2

        timeout = httpx2.Timeout(self.seconds, connect=min(CONNECT_SECONDS, self.seconds))
        try:
            with anyio.fail_after(self.seconds):
                async with httpx2.AsyncClient(timeout=timeout, headers=self._headers) as client:
                    return self._read(await self._post(client, question))
        except TimeoutError:
            raise ModelError(f"{self.place} did not answer within {self.seconds:g} seconds") from None
        except httpx2.HTTPError as error:
            raise ModelError(f"{self.place} cannot be used: {self._clean(str(error) or repr(error))}") from None
        except UnicodeEncodeError:
            raise ModelError(f"{KEY} contains characters that are not allowed in a key") from None

    async def _post(self, client: httpx2.AsyncClient, question: Question) -> bytes:
        """The body of a successful answer.

        Transient failures are retried; if the endpoint rejects the parameters, only the required ones are sent.
        """
        import anyio
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_transient),
            wait=_pause,
            stop=stop_after_attempt(ATTEMPTS),
            sleep=anyio.sleep,
            reraise=True,
        )
        body = self._body(question)
        required = {name: body[name] for name in ("model", "messages")}
        try:
            try:
                return await retrying(self._once, client, body)
            except _Refused as refusal:
                if refusal.status not in PARAMETERS_REJECTED:
                    raise
                return await retrying(self._once, client, required)
        except _Refused as refusal:
            answer = self._clean(refusal.answer.decode("utf-8", "replace"))
            message = f"{self.place} answered {refusal.status}: {answer or 'nothing'}"
            raise ModelError(message, _advice(refusal.status)) from None

    async def _once(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> bytes:
        """The body of one answer, of at most `MOST_REPLY_BYTES`. Raises `_Refused` unless its status is 200."""
        async with client.stream("POST", self._address("chat/completions"), json=body) as response:
            answer = bytearray()
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > MOST_REPLY_BYTES:
                    raise ModelError(f"{self.place} answered with more than {MOST_REPLY_BYTES} bytes")
            if response.status_code != 200:
                wait = response.headers.get("retry-after", "")
                raise _Refused(response.status_code, float(wait) if wait.isdecimal() else 0.0, bytes(answer))
            return bytes(answer)

    @property
    def _headers(self) -> dict[str, str]:
        key = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {"accept-encoding": "identity", **key}

    def _address(self, what: str) -> httpx2.URL:
        import httpx2

        url = httpx2.URL(self.url)
        return url.copy_with(path=f"{url.path.rstrip('/').removesuffix('/chat/completions')}/{what}")

    def _body(self, question: Question) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
        for picture in question.pictures:
            url = f"data:{mime_type(picture)};base64,{base64.b64encode(picture).decode('ascii')}"
            content.append({"type": "image_url", "image_url": {"url": url}})
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
                f"{self.place} does not answer like a chat endpoint: {error.errors()[0]['msg']}", "check the URL"
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


@dataclass(eq=False)
class _Refused(Exception):
    """An answer with a status other than 200."""

    status: int
    retry_after: float
    """Seconds that the endpoint asks to wait; 0 if it does not."""
    answer: bytes


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    import httpx2

    if isinstance(error, _Refused):
        return error.status in BUSY
    return isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError) and not isinstance(
        error, httpx2.ConnectError
    )


def _pause(state: RetryCallState) -> float:
    """Seconds until the next attempt: doubled each time, and at least what the endpoint asks for."""
    from tenacity import wait_exponential

    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, _Refused) else 0.0
    return min(max(wait_exponential(FIRST_PAUSE)(state), asked), LONGEST_PAUSE)


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0, le=10**9)
    completion_tokens: int = Field(default=0, ge=0, le=10**9)


class _Completion(BaseModel):
    """The fields of a chat completion that are used."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError(f"{KEY} contains characters that are not allowed in a key", "give one key, on one line")
    return key


def _number(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value < 1e6:
        raise ModelError(f"{name}={text!r} must be a number of at least 0")
    return value


def _advice(status: int) -> str:
    if status in (401, 403):
        return f"check {KEY}"
    return f"check {URL} and {MODEL}" if status == 404 else ""
