"""The view as headless Chromium shows it in a client, whose part the SDK's client plays on a real server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import PIL.Image
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import TextResourceContents

from server.mcp.view import VIEW, view_page

pytestmark = pytest.mark.anyio
APP_MIME = "text/html;profile=mcp-app"
FRAME = "document.querySelector('iframe').contentDocument"
HOST = """<!doctype html><meta charset="utf-8"><title>client</title>
<style>body { margin: 0 } iframe { width: 100%; height: 100vh; border: 0 }</style>
<iframe title="view" sandbox="allow-scripts allow-same-origin"></iframe>
<script>
const asked = [], told = [];
addEventListener("message", ({ data }) => (data.id === undefined ? told : asked).push(data));
function answer(message) { document.querySelector("iframe").contentWindow.postMessage(message, "*"); }
document.querySelector("iframe").srcdoc = PAGE;
</script>"""


class Host:
    """A client with a view: hands the view's requests on to the server."""

    def __init__(self, browser: Any, client: Client, theme: str) -> None:
        self.browser = browser
        self.client = client
        self.theme = theme
        self.context: list[str] = []

    async def until(self, expression: str) -> None:
        """Serve the view until something is true of its document (called `d`)."""
        with anyio.fail_after(40):
            while not self.value(expression):
                await self.serve()

    async def serve(self) -> None:
        """Answer what the view has asked meanwhile."""
        for request in json.loads(self.browser.value("JSON.stringify(asked.splice(0))")):
            self.post({"jsonrpc": "2.0", "id": request["id"], **await self._answer(request)})
        await anyio.sleep(0.02)

    def value(self, expression: str) -> Any:
        return self.browser.value(f"(d => {expression})({FRAME})")

    def post(self, message: dict[str, Any]) -> None:
        self.browser.value(f"answer({json.dumps(message)})")

    def tell(self, method: str, params: Any) -> None:
        self.post({"jsonrpc": "2.0", "method": f"ui/notifications/{method}", "params": params})

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        params = request["params"]
        match request["method"]:
            case "ui/initialize":
                known = {"protocolVersion": "2026-01-26", "hostInfo": {"name": "test", "version": "1"}}
                return {"result": {**known, "hostCapabilities": {}, "hostContext": {"theme": self.theme}}}
            case "resources/read":
                return {"result": as_json(await self.client.read_resource(params["uri"]))}
            case "tools/call":
                return {"result": as_json(await self.client.call_tool(params["name"], params["arguments"]))}
            case "ui/update-model-context":
                self.context.append(params["content"][0]["text"])
                return {"result": {}}
            case method:
                return {"error": {"code": -32601, "message": f"no method {method}"}}


def as_json(result: Any) -> Any:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def opened(
    browser: Any, client: Client, view: str, folder: Path, scheme: str = "light", theme: str = "light"
) -> Host:
    """The client with an empty view."""
    page = folder / "client.html"
    page.write_text(HOST.replace("PAGE", json.dumps(view).replace("</", "<\\/")), "utf-8")
    browser.open(page, scheme=scheme)
    return Host(browser, client, theme)


async def shown(
    browser: Any, client: Client, photo: Path, folder: Path, scheme: str = "light", theme: str = "light"
) -> Host:
    """The view of a finished restoration."""
    (content,) = (await client.read_resource(VIEW)).contents
    assert content.mime_type == APP_MIME
    assert isinstance(content, TextResourceContents)
    host = opened(browser, client, content.text, folder, scheme, theme)
    arguments = {"image": {"path": str(photo)}, "long_side": 192}
    await host.until("d.querySelector('select').length > 10")
    host.tell("tool-input", {"arguments": arguments})
    host.tell("tool-result", as_json(await client.call_tool("restore_to_4k", arguments)))
    await host.until("!d.querySelector('#again').hidden && d.querySelectorAll('.card').length > 0")
    return host


@pytest.fixture
async def client(server: MCPServer[Any]) -> AsyncIterator[Client]:
    async with Client(server) as one:
        yield one


async def test_the_tool_names_its_view(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert (tools["restore_to_4k"].meta or {})["ui"] == {"resourceUri": VIEW}


async def test_the_view_shows_the_run_and_restores_again_as_is_chosen(
    browser: Any, client: Client, photos: Any, tmp_path: Path
) -> None:
    host = await shown(browser, client, photos.noisy, tmp_path)
    assert host.value("d.documentElement.dataset.error ?? null") is None
    assert host.value("[...d.images].filter(i => i.src && !i.naturalWidth).length") == 0
    assert "noisy_restored.png" in host.value("d.querySelector('#told').textContent")
    browser.screenshot(tmp_path / "view.png")
    # The slider follows the keyboard.
    host.value("d.querySelector('main > .compare input').focus()")
    browser.press("ArrowRight", 39)
    at = host.value("d.querySelector('main > .compare').style.getPropertyValue('--at')")
    assert float(at.rstrip("%")) > 50
    # Another candidate is taken, by the keyboard too.
    card = "d.querySelector('article[data-task=denoising] .card.lost:not([data-expert=keep_input])')"
    wanted = host.value(f"{card}.dataset.expert")
    host.value(f"{card}.querySelector('.choose').focus()")
    browser.press(" ", 32)
    taken = f"d.querySelector('article[data-task=denoising] .card.won')?.dataset.expert === '{wanted}'"
    await host.until(f"{taken} && !d.querySelector('select').disabled")
    await host.until("d.activeElement.id === 'told'")
    with anyio.fail_after(20):
        while not host.context:
            await host.serve()
    assert wanted in host.context[0]
    # Another profile.
    host.value("d.querySelector('select').value = 'ExpSR-s2-F'")
    host.value("d.querySelector('#again button').click()")
    await host.until("d.querySelector('.facts').textContent.includes('ExpSR-s2-F')")
    await host.until("!d.querySelector('select').disabled")


@pytest.mark.parametrize(("scheme", "theme"), [("light", "dark"), ("dark", "light")])
async def test_the_client_says_how_dark_it_is(
    browser: Any, client: Client, photos: Any, tmp_path: Path, scheme: str, theme: str
) -> None:
    host = opened(browser, client, view_page(), tmp_path, scheme, theme)
    await host.until("d.documentElement.dataset.theme !== undefined")
    paper = host.value("getComputedStyle(d.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (theme == "light")


async def test_everything_has_a_name_for_a_screen_reader(
    browser: Any, client: Client, photos: Any, tmp_path: Path
) -> None:
    host = await shown(browser, client, photos.noisy, tmp_path)
    nodes = browser.call("Accessibility.getFullAXTree", frameId=_frame(browser))["nodes"]
    roles = {"button", "slider", "combobox", "image", "link", "region", "heading", "status"}
    named = [node for node in nodes if node.get("role", {}).get("value") in roles and not node.get("ignored")]
    found = {node["role"]["value"] for node in named}
    assert {"button", "slider", "combobox", "image", "heading", "status"} <= found
    nameless = [node["role"]["value"] for node in named if not node.get("name", {}).get("value")]
    assert set(nameless) <= {"status"}  # whose text is its content
    assert host.value("d.documentElement.lang") == "en"


def _frame(browser: Any) -> str:
    tree = browser.call("Page.getFrameTree")["frameTree"]
    frame: str = tree["childFrames"][0]["frame"]["id"]
    return frame


async def test_an_error_is_told_in_words(browser: Any, client: Client, tmp_path: Path) -> None:
    host = opened(browser, client, view_page(), tmp_path)
    await host.until("d.querySelector('select').length > 10")
    host.tell("tool-result", as_json(await client.call_tool("restore_to_4k", {"image": {"path": "/etc/passwd"}})))
    await host.until("d.querySelector('#told').textContent.includes('outside the allowed folders')")


async def test_a_thumbnail_of_the_view_is_no_blank_page(
    browser: Any, client: Client, photos: Any, tmp_path: Path
) -> None:
    await shown(browser, client, photos.noisy, tmp_path, theme="dark")
    browser.screenshot(tmp_path / "view.png")
    with PIL.Image.open(tmp_path / "view.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 1000
