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
        await self.view.locator("#controls option").nth(10).wait_for(state="attached")

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


EVERY = 'restore_option = ["denoising"]\nexhaustive = true\nupscale_4k = false\n'
"""A profile by which several experts remove noise."""
PATHS = (
    'plan = ["denoising", "super_resolution"]\nscale_factor = 2\nexhaustive = true\nupscale_4k = false\n'
    'experts = ["tv_denoise", "lanczos_2x"]\n'
)
"""A profile by which an enlarger competes on the cleaned, the half cleaned and the untouched photo."""


async def restored(host: Host, photo: Path, profile: str = EVERY) -> FrameLocator:
    """The view of a finished restoration."""
    (photo.parent / "every.toml").write_text(profile)
    (content,) = (await host.client.read_resource(VIEW)).contents
    assert content.mime_type == APP_MIME
    assert isinstance(content, TextResourceContents)
    await host.open(content.text)
    arguments = {"image": str(photo), "profile": str(photo.parent / "every.toml")}
    await host.tell("tool-input", {"arguments": arguments})
    await host.tell("tool-result", as_json(await host.client.call_tool("restore_to_4k", arguments)))
    await expect(host.view.locator("#controls")).to_be_visible()
    return host.view


async def test_the_tool_names_its_view(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert (tools["restore_to_4k"].meta or {})["ui"] == {"resourceUri": VIEW}


async def test_the_view_shows_the_run_and_restores_again_as_is_chosen(host: Host, photos: Any) -> None:
    view = await restored(host, photos.noisy)
    root = view.locator("html")
    assert await root.evaluate("root => root.dataset.error ?? null") is None
    assert await root.evaluate("() => [...document.images].filter(i => i.src && !i.naturalWidth).length") == 0
    await expect(view.locator("#status")).to_contain_text("noisy_restored.png")
    # The slider follows the keyboard.
    await view.locator("main > .compare input").press("ArrowRight")
    at = await view.locator("main > .compare").evaluate("compare => compare.style.getPropertyValue('--at')")
    assert float(at.rstrip("%")) > 50
    # A region is chosen by the keyboard, or drawn; both versions are seen there in their own pixels.
    picker, region = view.locator("#picker"), view.get_by_label("Region", exact=True).and_(view.locator("input"))
    await view.locator("#controls summary").press("Enter")
    await picker.press("ArrowRight")
    await picker.press("Shift+ArrowDown")
    await expect(region).to_have_value("0.300, 0.250, 0.500, 0.550")
    await expect(view.locator("#controls output")).to_have_text("left 30 %, top 25 %, width 50 %, height 55 %")
    await picker.press("Escape")
    await expect(region).to_have_value("")
    area = await picker.bounding_box()
    assert area
    await host.page.mouse.move(area["x"] + 0.5 * area["width"], area["y"] + 0.5 * area["height"])
    await host.page.mouse.down()
    await host.page.mouse.move(area["x"] + 0.25 * area["width"], area["y"] + 0.1 * area["height"])
    await host.page.mouse.up()
    drawn = [float(number) for number in (await region.input_value()).split(", ")]
    assert drawn == pytest.approx([0.25, 0.1, 0.25, 0.4], abs=0.02)
    await view.get_by_role("button", name="Compare at 100 %").press("Enter")
    await expect(view.locator("#seen img")).to_be_visible()
    wide = await view.locator("#seen img").evaluate("image => image.naturalWidth")
    assert wide == pytest.approx(2 * 0.25 * 384 + 4, abs=12)  # a result four times as large
    # Another candidate is taken, by the keyboard too.
    denoising = view.locator("article[data-task=denoising]")
    card = denoising.locator(".card.lost:not([data-expert=keep_input])").first
    wanted = await card.get_attribute("data-expert")
    assert wanted
    await card.locator(".choose").press(" ")
    await expect(denoising.locator(".card.won")).to_have_attribute("data-expert", wanted)
    await expect(view.locator("select")).to_be_enabled()
    await expect(view.locator("#status")).to_be_focused()
    assert wanted in host.context[0]
    # Another profile.
    await view.get_by_label("Profile").select_option("ExpSR-s2-F")
    await view.get_by_label("Detail").press("ArrowRight")
    await view.get_by_role("button", name="Restore again", exact=True).click()
    await expect(view.locator(".facts")).to_contain_text("ExpSR-s2-F")
    await expect(view.locator("select")).to_be_enabled()
    assert '"detail":0.25' in host.context[1]
    assert '"region":"0.2' in host.context[1]


@pytest.mark.parametrize(("scheme", "theme"), [("light", "dark"), ("dark", "light")])
async def test_the_client_says_how_dark_it_is(host: Host, scheme: Any, theme: str) -> None:
    await host.page.emulate_media(color_scheme=scheme)
    host.theme = theme
    await host.open(view_page())
    paper = "rgb(255, 255, 255)" if theme == "light" else "rgb(20, 22, 24)"
    await expect(host.view.locator("body")).to_have_css("background-color", paper)


async def test_paths_are_seen_named_and_taken_by_keyboard(host: Host, photos: Any) -> None:
    """The enlarger on the untouched photo is seen beside the steps, and chosen; all that the view has, has a name."""
    view = await restored(host, photos.noisy, PATHS)
    for role in ("button", "slider", "combobox", "img", "heading", "link", "region"):
        found = view.get_by_role(role)  # type: ignore[arg-type]
        named = view.get_by_role(role, name=re.compile(r"\S"))  # type: ignore[arg-type]
        assert await named.count() == await found.count() > 0, role
    await expect(view.get_by_role("status")).to_contain_text("Saved as")
    await expect(view.locator("html")).to_have_attribute("lang", "en")
    paths = view.get_by_role("region", name="Paths")
    titles = await paths.get_by_role("heading", level=4).all_text_contents()
    assert titles[0] == "Cleaned step by step chosen"
    assert set(titles[1:]) == {"Half cleaned", "Without cleaning"}
    await expect(paths.get_by_role("listitem").filter(has_text="Without cleaning")).to_contain_text(
        "Super resolution 2× by lanczos_2x"
    )
    picture = paths.get_by_role("button", name="Compare Without cleaning with the photo")
    await picture.press("Enter")
    await expect(view.get_by_role("dialog")).to_have_accessible_name("Super resolution 2×: Without cleaning")
    await expect(view.get_by_role("dialog").get_by_role("img", name="The photo")).to_be_visible()
    await host.page.keyboard.press("Escape")
    await expect(picture).to_be_focused()
    await paths.get_by_role("button", name=re.compile("Take this path: Without cleaning")).press("Enter")
    await expect(view.locator("article[data-task=denoising]")).to_have_count(0)
    await expect(view.locator("article[data-task=super_resolution] .card.won")).to_have_attribute(
        "data-expert", "lanczos_2x"
    )
    assert '"experts":"lanczos_2x","plan":"super_resolution"' in host.context[0]


async def test_the_half_cleaned_path_is_taken(host: Host, photos: Any) -> None:
    view = await restored(host, photos.noisy, PATHS)
    await view.get_by_role("button", name=re.compile("Take this path: Half cleaned")).press("Enter")
    chosen = view.locator('article[data-task=super_resolution] .card.won[data-expert="lanczos_2x.half_cleaned"]')
    await expect(chosen.first).to_be_visible()
    assert '"experts":"tv_denoise, lanczos_2x.half_cleaned","plan":"denoising, super_resolution"' in host.context[0]


async def test_an_error_is_shown_as_text(host: Host, client: Client) -> None:
    await host.open(view_page())
    await host.tell("tool-result", as_json(await client.call_tool("restore_to_4k", {"image": "/etc/passwd"})))
    await expect(host.view.locator("#status")).to_contain_text("outside the allowed folders")


async def test_a_thumbnail_of_the_view_is_not_blank(host: Host, photos: Any) -> None:
    host.theme = "dark"
    await restored(host, photos.noisy)
    with PIL.Image.open(io.BytesIO(await host.page.screenshot(full_page=True))) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 1000
