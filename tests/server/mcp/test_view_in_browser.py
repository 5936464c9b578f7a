"""The view in headless Chromium, inside a client whose part the SDK's client plays on a real server."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.types import TextResourceContents
from playwright.async_api import FrameLocator, Page, async_playwright, expect

from server.mcp.view import VIEW, view_page

pytestmark = pytest.mark.anyio
APP_MIME = "text/html;profile=mcp-app"
PATIENCE_MS = 40_000
HOST = """<!doctype html><meta charset="utf-8"><title>client</title>
<style>body { margin: 0 } iframe { width: 100%; height: 100vh; border: 0 }</style>
<iframe title="view" sandbox="allow-scripts allow-same-origin"></iframe>
<script>
function post(message) { document.querySelector("iframe").contentWindow.postMessage(message, "*"); }
addEventListener("message", async ({ data }) => { if (data.id !== undefined) post(await answerOf(data)); });
document.querySelector("iframe").srcdoc = PAGE;
</script>"""


class Host:
    """A client with a view: forwards the view's requests to the server."""

    def __init__(self, page: Page, client: Client) -> None:
        self.page = page
        self.client = client
        self.theme = "light"
        self.context: list[str] = []

    @property
    def view(self) -> FrameLocator:
        return self.page.frame_locator("iframe")

    async def open(self, view: str) -> None:
        """Show the view before it knows a result."""
        await self.page.expose_function("answerOf", self._answer)
        await self.page.set_content(HOST.replace("PAGE", json.dumps(view).replace("</", "<\\/")))
        await self.view.locator("#again option").nth(10).wait_for(state="attached")

    async def tell(self, method: str, params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": f"ui/notifications/{method}", "params": params}
        await self.page.evaluate("message => post(message)", message)

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": request["id"], **await self._outcome(request["method"], request["params"])}

    async def _outcome(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
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
            case _:
                return {"error": {"code": -32601, "message": f"no method {method}"}}


def as_json(result: Any) -> Any:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.fixture
async def client(server: MCPServer[Any]) -> AsyncIterator[Client]:
    async with Client(server) as one:
        yield one


@pytest.fixture
async def host(chromium: str, client: Client) -> AsyncIterator[Host]:
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=chromium) as browser,
    ):
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield Host(page, client)


async def restored(host: Host, photo: Path) -> FrameLocator:
    """The view of a finished restoration."""
    (content,) = (await host.client.read_resource(VIEW)).contents
    assert content.mime_type == APP_MIME
    assert isinstance(content, TextResourceContents)
    await host.open(content.text)
    arguments = {"image": {"path": str(photo)}, "long_side": 192}
    await host.tell("tool-input", {"arguments": arguments})
    await host.tell("tool-result", as_json(await host.client.call_tool("restore_to_4k", arguments)))
    await expect(host.view.locator("#again")).to_be_visible()
    return host.view


async def test_the_tool_names_its_view(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert (tools["restore_to_4k"].meta or {})["ui"] == {"resourceUri": VIEW}


async def test_the_view_shows_the_run_and_restores_again_as_is_chosen(host: Host, photos: Any) -> None:
    view = await restored(host, photos.noisy)
    root = view.locator("html")
    assert await root.evaluate("root => root.dataset.error ?? null") is None
    assert await root.evaluate("() => [...document.images].filter(i => i.src && !i.naturalWidth).length") == 0
    await expect(view.locator("#told")).to_contain_text("noisy_restored.png")
    # The slider follows the keyboard.
    await view.locator("main > .compare input").press("ArrowRight")
    at = await view.locator("main > .compare").evaluate("compare => compare.style.getPropertyValue('--at')")
    assert float(at.rstrip("%")) > 50
    # Another candidate is taken, by the keyboard too.
    denoising = view.locator("article[data-task=denoising]")
    card = denoising.locator(".card.lost:not([data-expert=keep_input])").first
    wanted = await card.get_attribute("data-expert")
    assert wanted
    await card.locator(".choose").press(" ")
    await expect(denoising.locator(".card.won")).to_have_attribute("data-expert", wanted)
    await expect(view.locator("select")).to_be_enabled()
    await expect(view.locator("#told")).to_be_focused()
    assert wanted in host.context[0]
    # Another profile.
    await view.get_by_label("Profile").select_option("ExpSR-s2-F")
    await view.get_by_role("button", name="Restore again", exact=True).click()
    await expect(view.locator(".facts")).to_contain_text("ExpSR-s2-F")
    await expect(view.locator("select")).to_be_enabled()


@pytest.mark.parametrize(("scheme", "theme"), [("light", "dark"), ("dark", "light")])
async def test_the_client_says_how_dark_it_is(host: Host, scheme: Any, theme: str) -> None:
    await host.page.emulate_media(color_scheme=scheme)
    host.theme = theme
    await host.open(view_page())
    paper = "rgb(255, 255, 255)" if theme == "light" else "rgb(20, 22, 24)"
    await expect(host.view.locator("body")).to_have_css("background-color", paper)


async def test_everything_has_a_name_for_a_screen_reader(host: Host, photos: Any) -> None:
    view = await restored(host, photos.noisy)
    for role in ("button", "slider", "combobox", "img", "heading", "link", "region"):
        found = view.get_by_role(role)  # type: ignore[arg-type]
        named = view.get_by_role(role, name=re.compile(r"\S"))  # type: ignore[arg-type]
        assert await named.count() == await found.count() > 0, role
    await expect(view.get_by_role("status")).to_contain_text("Saved as")
    await expect(view.locator("html")).to_have_attribute("lang", "en")


async def test_an_error_is_told_in_words(host: Host, client: Client) -> None:
    await host.open(view_page())
    await host.tell(
        "tool-result", as_json(await client.call_tool("restore_to_4k", {"image": {"path": "/etc/passwd"}}))
    )
    await expect(host.view.locator("#told")).to_contain_text("outside the allowed folders")


async def test_a_thumbnail_of_the_view_is_no_blank_page(host: Host, photos: Any) -> None:
    host.theme = "dark"
    await restored(host, photos.noisy)
    with PIL.Image.open(io.BytesIO(await host.page.screenshot(full_page=True))) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 1000
