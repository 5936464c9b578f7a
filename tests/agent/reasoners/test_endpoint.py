"""Chat endpoints of every temper, played by a server of our own: an answer, or one clear error in good time."""

from __future__ import annotations

import base64
import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import skimage.data

from agent.errors import ModelError
from agent.reasoners.endpoint import Endpoint
from agent.reasoners.model_reasoner import ModelReasoner, Question
from agent.run import Restoration, restore_file
from imaging.convert import from_numpy, to_float
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import encode_image, write_image
from profiles.schema import Profile
from tests.agent.reasoners.endpoint_acts import (
    SEEN,
    Act,
    answer,
    breaking_off,
    closing,
    completion,
    dripping,
    enormous,
    silent,
)
from toolbox.tasks import Task

KEY = "sk-very-secret-key"
PHOTO = Image(from_numpy(to_float(skimage.data.astronaut()[20:116, 150:278])))
QUESTION = Question("Be brief.", "What is wrong?", (encode_image(PHOTO, "PNG"),), {"type": "object"})


@dataclass
class Played:
    """A server that does as a test says, the last act again and again, and remembers what it was asked."""

    url: str = ""
    acts: list[Act] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    def endpoint(self, **more: Any) -> Endpoint:
        return Endpoint(**{"url": self.url, "model": "played", "key": KEY, "seconds": 20.0, **more})


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("agent.reasoners.endpoint.FIRST_PAUSE", 0.01)
    script = Played()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.acts[0](self)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            script.requests.append((self.path, dict(self.headers), body))
            try:
                script.acts[min(len(script.requests), len(script.acts)) - 1](self)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.socket.close()


def test_a_question_goes_out_with_model_picture_seed_and_form_and_the_reply_comes_back(played: Played) -> None:
    played.acts = [answer(completion(SEEN, prompt_tokens=1200, completion_tokens=40))]
    reply = played.endpoint(seed=1994, price_in=2.0, price_out=10.0).ask(QUESTION, ProgressToken())
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == (SEEN, 1200, 40)
    assert reply.cost == pytest.approx(0.0028)
    path, headers, body = played.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["accept-encoding"] == "identity"
    assert (body["model"], body["seed"]) == ("played", 1994)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    words, picture = body["messages"][1]["content"]
    assert words["text"] == "What is wrong?"
    data = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert PIL.Image.open(io.BytesIO(data)).size == (128, 96)


def test_without_key_and_prices_neither_is_sent_nor_reported(played: Played) -> None:
    played.acts = [answer(completion(SEEN))]
    assert played.endpoint(key="").ask(QUESTION, ProgressToken()).cost is None
    assert "authorization" not in played.requests[0][1]


@pytest.mark.parametrize(
    "url", ["/v1/", "/v1/chat/completions", "/v1?api-version=3"], ids=["slash", "whole address", "query"]
)
def test_the_address_may_be_written_in_several_ways(played: Played, url: str) -> None:
    played.acts = [answer(completion(SEEN))]
    played.endpoint(url=played.url.removesuffix("/v1") + url).ask(QUESTION, ProgressToken())
    assert played.requests[0][0].partition("?")[0] == "/v1/chat/completions"
    assert played.requests[0][0].endswith("api-version=3") == ("api" in url)


@pytest.mark.parametrize("first", [answer(b"slow down", 429), answer(b"", 503), answer(b"", 500), closing])
def test_a_busy_endpoint_is_asked_again(played: Played, first: Act) -> None:
    played.acts = [first, answer(completion(SEEN))]
    assert played.endpoint().ask(QUESTION, ProgressToken()).text == SEEN
    assert len(played.requests) == 2


def test_the_pause_that_a_busy_endpoint_asks_for_is_kept(played: Played) -> None:
    played.acts = [answer(b"", 429, retry_after="1"), answer(completion(SEEN))]
    started = time.monotonic()
    played.endpoint().ask(QUESTION, ProgressToken())
    assert time.monotonic() - started >= 1


def test_an_endpoint_that_knows_fewer_parameters_is_asked_with_fewer(played: Played) -> None:
    played.acts = [answer(b'{"error": "response_format is not supported"}', 400), answer(completion(SEEN))]
    assert played.endpoint().ask(QUESTION, ProgressToken()).text == SEEN
    assert set(played.requests[1][2]) == {"model", "messages"}


BAD: dict[str, tuple[Act, str]] = {
    "always busy": (answer(b"busy", 429), "429"),
    "always broken": (answer(b"<html>Internal error</html>", 500), "500"),
    "bad request for ever": (answer(b"no", 400), "400"),
    "wrong key": (answer(b'{"error": "bad key sk-very-secret-key"}', 401), "RESTORE4K_LLM_KEY"),
    "wrong address": (answer(b"", 404), "RESTORE4K_LLM_URL"),
    "sends elsewhere": (answer(b"", 302, location="http://example.com/"), "302"),
    "silent": (silent(threading.Event()), "within 1 seconds"),
    "a byte now and then": (dripping, "within 1 seconds"),
    "closes the connection": (closing, "cannot be used"),
    "breaks off": (breaking_off, "cannot be used"),
    "enormous": (enormous, "more than"),
    "no JSON": (answer(b"hello"), "chat endpoint"),
    "other JSON": (answer(b'{"object": "list", "data": []}'), "chat endpoint"),
    "no choices": (answer(b'{"choices": []}'), "chat endpoint"),
    "nested JSON": (answer(b"[" * 100_000), "chat endpoint"),
    "negative tokens": (answer(completion(SEEN, prompt_tokens=-5)), "chat endpoint"),
    "packed without being asked": (answer(b"\x1f\x8b" + bytes(50), content_encoding="gzip"), "chat endpoint"),
    "content as object": (answer(completion({"a": 1})), "chat endpoint"),
    "not even HTTP": (lambda handler: handler.wfile.write(b"\x00\xff" * 100), "cannot be used"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_endpoint_is_one_model_error_without_the_key(played: Played, kind: str) -> None:
    act, message = BAD[kind]
    played.acts = [act]
    with pytest.raises(ModelError) as caught:
        played.endpoint(seconds=1.0).ask(QUESTION, ProgressToken())
    assert message in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_absent_endpoint_is_reported_at_once(played: Played) -> None:
    with pytest.raises(ModelError):
        played.endpoint(url="http://127.0.0.1:9/v1").ask(QUESTION, ProgressToken())


@pytest.mark.parametrize("text", ["", None, "<think>Where shall I begin?</think>\n"])
def test_an_empty_answer_is_asked_for_again_and_its_tokens_count(played: Played, tmp_path: Path, text: Any) -> None:
    usage = {"prompt_tokens": 900, "completion_tokens": 1000}
    played.acts = [answer(completion(text, **usage)), answer(completion(SEEN, **usage)), answer(b"", 404)]
    restoration = restored(tmp_path, played.endpoint(price_in=5.0, price_out=5.0))
    assert restoration.state.perception is not None
    assert restoration.state.perception.by == "endpoint (played)"
    assert "the answer was empty" in played.requests[1][2]["messages"][1]["content"][0]["text"]
    use = restoration.state.model_use
    assert (use.prompt_tokens, use.completion_tokens) == (1800, 2000)
    assert use.cost == pytest.approx(0.019)


def test_white_space_around_the_key_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", "http://localhost/v1"), ("MODEL", "m"), ("KEY", f" {KEY}\n")):
        monkeypatch.setenv(f"RESTORE4K_LLM_{name}", value)
    endpoint = Endpoint.from_environment()
    assert endpoint is not None
    assert endpoint.key == KEY


def test_cancellation_stops_the_request_at_once(played: Played) -> None:
    left, token = threading.Event(), ProgressToken()
    played.acts = [silent(left)]
    threading.Timer(0.2, token.cancel).start()
    with pytest.raises(Cancelled):
        played.endpoint().ask(QUESTION, token)
    assert left.wait(20), "the request goes on"


def test_the_key_shows_nowhere(played: Played, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    played.acts = [answer(completion(f"You sent me {KEY}"))]
    endpoint = played.endpoint()
    reply = endpoint.ask(QUESTION, ProgressToken())
    assert reply.text == "You sent me ***"
    assert KEY not in repr(endpoint) + caplog.text + endpoint.place


def test_the_doctor_can_ask_whether_an_endpoint_is_there(played: Played) -> None:
    played.acts = [answer(b"{}")]
    assert played.endpoint().problem() == ""
    played.acts = [answer(b"", 401)]
    assert "RESTORE4K_LLM_KEY" in played.endpoint().problem()
    assert played.endpoint(url="http://127.0.0.1:9/v1").problem()


@pytest.mark.parametrize("kind", ["drips its head", "is silent"])
def test_the_doctor_does_not_wait_for_ever(hostile_host: Any, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("agent.reasoners.endpoint.PROBE_SECONDS", 0.3)
    assert "within 0.3 seconds" in Endpoint(hostile_host(kind), "m").problem()


def restored(folder: Path, endpoint: Endpoint) -> Restoration:
    """A whole run of a small photo with a model that looks and orders."""
    write_image(PHOTO, folder / "photo.png")
    profile = Profile(
        name="test",
        perception_agent="endpoint",
        scale_factor=2,
        restore_option=(Task.DENOISING, Task.DERAINING),
        max_expert_runs=1,
    )
    reasoner = ModelReasoner("endpoint", endpoint)
    return restore_file(folder / "photo.png", folder / "out.png", profile, runs=folder / "runs", reasoner=reasoner)


@pytest.mark.parametrize("kind", ["silent", "no JSON"])
def test_a_run_with_a_bad_endpoint_succeeds_with_a_warning(played: Played, tmp_path: Path, kind: str) -> None:
    played.acts = [BAD[kind][0]]
    restoration = restored(tmp_path, played.endpoint(seconds=1.0))
    assert read_image(restoration.output).width == 256
    assert restoration.state.perception is not None
    assert restoration.state.perception.by == "rules"
    assert any("the rules decide" in warning for warning in restoration.summary().warnings)
    assert restoration.state.model_use.calls == 1


def test_a_run_with_a_model_that_replies_nonsense_succeeds(played: Played, tmp_path: Path) -> None:
    played.acts = [answer(completion('{"degradations": "rm -rf /"', prompt_tokens=10))]
    restoration = restored(tmp_path, played.endpoint())
    assert read_image(restoration.output).width == 256
    assert restoration.summary().model_use.calls == 2


def test_a_run_with_a_good_model_follows_it_and_adds_up_what_it_took(played: Played, tmp_path: Path) -> None:
    order = {"order": [{"task": task, "reason": "as I say"} for task in ("deraining", "denoising")]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    played.acts = [answer(completion(SEEN, **usage)), answer(completion(json.dumps(order), **usage))]
    restoration = restored(tmp_path, played.endpoint(price_in=1.0, price_out=1.0))
    state = restoration.state
    assert state.perception is not None
    assert state.plan is not None
    assert (state.perception.by, state.plan.by) == ("endpoint (played)",) * 2
    assert [step.task for step in state.plan.steps][:2] == [Task.DERAINING, Task.DENOISING]
    use = restoration.summary().model_use
    assert use.calls >= 2
    assert use.prompt_tokens == 1000 * use.calls
    assert use.cost == pytest.approx(0.0011 * use.calls)
    trace = (restoration.folder / "trace.jsonl").read_text("utf-8")
    assert trace.count('"event":"asked"') == use.calls
    assert "model calls" in restoration.report.read_text("utf-8")
    assert KEY not in trace + (restoration.folder / "state.json").read_text("utf-8")
