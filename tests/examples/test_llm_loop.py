"""The loop with a language model, whose part a scripted endpoint plays; it decides by what the tools answer."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from mcp import Client
from skimage import data

from server.mcp.app import build_server
from server.settings import ServerSettings

pytestmark = pytest.mark.anyio
EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = runpy.run_path(str(EXAMPLES / "llm_loop.py"))


def facts_of(text: str) -> dict[str, Any]:
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


WISHES = {"size": 192}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Script:
    """A model that begins with arguments that are no JSON, plans, and takes the steps that replies recommend."""

    def __init__(self, photo: Path) -> None:
        self.image = str(photo)
        self.requests: list[dict[str, Any]] = []

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        outputs = [message for message in request["messages"] if message["role"] == "tool"]
        match len(outputs):
            case 0:
                return self._call("plan_restoration", "{not json")
            case 1:
                return self._call("plan_restoration", json.dumps({"image": self.image, **WISHES}))
        text = outputs[-1]["content"]
        answer = json.loads(text) if text.startswith("{") else facts_of(text)
        if "next" not in answer:
            return {"role": "assistant", "content": f"It lies at {answer['file']}"}
        tool, _, arguments = answer["next"].partition(" ")
        return self._call(tool, arguments)

    def _call(self, name: str, arguments: str) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        calls = [{"id": f"call_{len(self.requests)}", "type": "function", "function": function}]
        return {"role": "assistant", "content": None, "tool_calls": calls}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    clean = np.asarray(data.astronaut())[:80, 180:276]
    noisy = clean + np.random.default_rng(7).normal(0, 25, clean.shape)
    PIL.Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    return tmp_path / "noisy.png"


@pytest.fixture
def script(photo: Path) -> Script:
    return Script(photo)


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    """Of a chat endpoint with the scripted model."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = self.path == "/v1/chat/completions" and self.headers["authorization"] == "Bearer key"
            body = json.dumps({"choices": [{"message": script.reply(request)}]}).encode() if found else b"{}"
            self.send_response(200 if found else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


async def test_a_model_that_follows_the_plan_gets_what_one_call_gives(
    tmp_path: Path, photo: Path, script: Script, url: str
) -> None:
    settings = ServerSettings(
        (tmp_path,), tmp_path / "output", tmp_path / "workspace", tmp_path / "runs", tools="all", wait_seconds=600
    )
    endpoint = EXAMPLE["Endpoint"](url, "scripted", "key")
    async with Client(build_server(settings)) as client:
        words = await EXAMPLE["converse"](client, endpoint, photo)
        whole = await client.call_tool("restore_to_4k", {"image": str(photo), **WISHES})
        tools = {tool.name for tool in (await client.list_tools()).tools}
    file = Path(words.removeprefix("It lies at "))
    assert file.read_bytes() == Path(facts_of(whole.content[0].text)["file"]).read_bytes()
    assert {tool["function"]["name"] for tool in script.requests[0]["tools"]} == tools
    assert "reason_degradations" in script.requests[0]["messages"][0]["content"]
    last = script.requests[-1]["messages"]
    assert "no JSON" in next(message["content"] for message in last if message["role"] == "tool")
    seen = [part for message in last if isinstance(message["content"], list) for part in message["content"]]
    assert seen
    assert all(part["image_url"]["url"].startswith("data:image/") for part in seen)
