"""Resources, their lists and notices, completions and prompts, as a client of the SDK sees them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import PIL.Image
import pytest
from mcp import Client, MCPError
from mcp.server import MCPServer
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.types import (
    INVALID_PARAMS,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from agent.run_folder import RunFolder
from profiles.schema import Profile
from server.settings import ServerSettings
from toolbox.card import ClassicalCard

pytestmark = pytest.mark.anyio
SMALL = {"size": 128}


async def text_of(client: Client, uri: str) -> str:
    (content,) = (await client.read_resource(uri, cache_mode="bypass")).contents
    assert isinstance(content, TextResourceContents)
    return content.text


async def completed(client: Client, ref: Any, name: str, typed: str) -> list[str]:
    return (await client.complete(ref, {"name": name, "value": typed})).completion.values


async def test_every_template_is_there(server: MCPServer[Any]) -> None:
    async with Client(server) as client:
        templates = (await client.list_resource_templates()).resource_templates
    assert {template.uri_template for template in templates} == {
        "image://{handle}",
        "image://{handle}/full",
        "run://{run}/report",
        "run://{run}/trace",
        "expert://{name}",
        "profile://{name}",
    }
    assert all(template.title and template.description and template.mime_type for template in templates)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_experts_and_profiles_are_read_by_name(server: MCPServer[Any], mode: str) -> None:
    async with Client(server, mode=mode) as client:
        card = ClassicalCard.model_validate_json(await text_of(client, "expert://lanczos_4x"))
        profile = Profile.model_validate_json(await text_of(client, "profile://Gen4K-P"))
    assert (card.name, card.scale) == ("lanczos_4x", 4)
    assert (profile.name, profile.long_side) == ("Gen4K-P", 4096)


@pytest.mark.parametrize("uri", ["expert://none", "profile://none", "profile://..%2Fmine.toml", "run://none/trace"])
async def test_what_is_not_there_is_refused(server: MCPServer[Any], uri: str) -> None:
    async with Client(server) as client:
        with pytest.raises(Exception, match=r"there is no|Unknown resource|rejected"):
            await client.read_resource(uri)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_runs_and_images_are_listed_and_can_be_read(
    server: MCPServer[Any], settings: ServerSettings, photos: Any, facts: Any, mode: str
) -> None:
    async with Client(server, mode=mode) as client:
        assert {each.uri for each in (await client.list_resources()).resources} == {"ui://restore4k/report"}
        result = await client.call_tool("restore_to_4k", {"image": str(photos.noisy), **SMALL})
        resources = (await client.list_resources(cache_mode="bypass")).resources
        run, handle = facts(result)["run"], facts(result)["handle"]
        assert {f"run://{run}/report", f"run://{run}/trace", f"image://{handle}"} <= {each.uri for each in resources}
        assert "noisy.jpg" in next(each.title or "" for each in resources if each.uri == f"run://{run}/report")
        assert "<!doctype html>" in await text_of(client, f"run://{run}/report")
        for file in (settings.runs / run).rglob("*.jpg"):  # of a large photo with many candidates
            PIL.Image.effect_noise((600, 500), 90).save(file, quality=97)
        (settings.runs / run / "report.html").unlink(missing_ok=True)
        assert 400_000 < len(await text_of(client, f"run://{run}/report")) < 1_000_000
        trace = [json.loads(line) for line in (await text_of(client, f"run://{run}/trace")).splitlines()]
    assert trace[0]["event"] == "started"
    assert trace[-1]["event"] == "finished"


async def test_subscribers_are_notified_while_a_run_is_in_progress(
    server: MCPServer[Any], photos: Any, facts: Any, settings: ServerSettings
) -> None:
    """And reads its report meanwhile, which says that the run is not finished."""
    heard: list[Any] = []
    reports: list[str] = []
    arguments = {"image": str(photos.noisy), **SMALL}
    async with Client(server) as client, anyio.create_task_group() as group:

        async def listen_to_run(run: str) -> None:
            uris = [f"run://{run}/trace", f"run://{run}/report"]
            async with client.listen(resource_subscriptions=uris) as subscription:
                async for event in subscription:
                    heard.append(event)
                    reports.append(await text_of(client, uris[1]))

        async def listen_to_list(task_status: Any) -> None:
            async with client.listen(resources_list_changed=True) as subscription:
                task_status.started()
                async for event in subscription:
                    heard.append(event)
                    runs = [each.uri for each in (await client.list_resources(cache_mode="bypass")).resources]
                    run = next(uri.split("/")[2] for uri in runs if uri.startswith("run://"))
                    if len(heard) == 1:
                        group.start_soon(listen_to_run, run)

        with anyio.fail_after(120):
            await group.start(_starting(listen_to_list))
            result = await client.call_tool("restore_to_4k", arguments)
            run = facts(result)["run"]
            while heard.count(ResourcesListChanged()) < 2:
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert ResourceUpdated(uri=f"run://{run}/trace") in heard
    assert any("This run is not finished" in report for report in reports)
    assert RunFolder(settings.runs / run).load_state().finished


def _starting(listener: Any) -> Any:
    async def start(*, task_status: Any) -> None:
        await listener(task_status)

    return start


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("name", "arguments"), [("none", {}), ("diagnose", {}), ("restore_folder", {"folder": "/etc"})]
)
async def test_a_prompt_that_cannot_be_had_is_a_wrong_argument(
    server: MCPServer[Any], name: str, arguments: dict[str, str], mode: str
) -> None:
    async with Client(server, mode=mode) as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt(name, arguments)
    assert caught.value.code == INVALID_PARAMS


async def test_names_are_completed(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        image = await client.call_tool("denoise", {"image": str(photos.clean), "expert": "tv_denoise"})
        handle = facts(image)["handle"]
        expert, profile = (ResourceTemplateReference(uri=f"{kind}://{{name}}") for kind in ("expert", "profile"))
        assert "nlm_denoise" in await completed(client, expert, "name", "nlm")
        assert await completed(client, profile, "name", "gen4k") == [
            "Gen4K-F",
            "Gen4K-P",
            "FastGen4K-P",
        ]
        assert handle in await completed(client, ResourceTemplateReference(uri="image://{handle}"), "handle", "img_")
        assert await completed(client, PromptReference(name="diagnose"), "photo", "NOISY") == ["noisy.jpg"]
        assert handle in await completed(client, PromptReference(name="compare"), "first", "img_")
        whole = str(photos.noisy)
        assert await completed(client, PromptReference(name="diagnose"), "photo", whole[:-3]) == [whole]
        assert await completed(client, PromptReference(name="restore_photo"), "profile", "medi") == ["medical-safe"]
        assert await completed(client, profile, "name", "no such") == []


async def test_runs_are_completed(server: MCPServer[Any], photos: Any, facts: Any) -> None:
    async with Client(server) as client:
        result = await client.call_tool("restore_to_4k", {"image": str(photos.noisy), **SMALL})
        found = await completed(client, ResourceTemplateReference(uri="run://{run}/report"), "run", "")
    assert found == [facts(result)["run"]]


PROMPTS = {
    "restore_photo": {"photo": "noisy.jpg", "profile": "Gen4K-P"},
    "plan_it_yourself": {"photo": "noisy.jpg"},
    "diagnose": {"photo": "img_0123456789abcdef0123456789abcdef"},
    "compare": {"first": "clean.png", "second": "noisy.jpg"},
    "restore_folder": {"folder": "."},
}


async def prompt_text(client: Client, name: str, arguments: dict[str, str]) -> str:
    (message,) = (await client.get_prompt(name, arguments)).messages
    assert isinstance(message.content, TextContent)
    return message.content.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_prompt_names_tools_that_there_are_and_what_was_given(server: MCPServer[Any], mode: str) -> None:
    async with Client(server, mode=mode) as client:
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert prompts.keys() == PROMPTS.keys()
        for name, arguments in PROMPTS.items():
            assert prompts[name].title
            assert all(argument.description for argument in prompts[name].arguments or [])
            text = await prompt_text(client, name, arguments)
            assert all(value in text for value in arguments.values()), name
            named = {
                word.strip(".,:;()") for word in text.split() if "_" in word and word.strip(".,:;()").isidentifier()
            }
            assert named & tools, name
            assert named <= tools, name


def calls_in(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Every tool that a prompt says to call with certain arguments, and these."""
    found = list[tuple[str, dict[str, Any]]]()
    for match in re.finditer(r"\bcall (?:of )?(\w+)(?: and (\w+))? with\s+(?=\{)", text, re.IGNORECASE):
        arguments, _ = json.JSONDecoder().raw_decode(text, match.end())
        found += [(tool, arguments) for tool in match.groups() if tool]
    return found


@pytest.mark.parametrize("name", PROMPTS)
async def test_the_calls_that_a_prompt_names_can_be_made_as_they_stand(
    server: MCPServer[Any], photos: Any, name: str
) -> None:
    (photos.folder / "quick.toml").write_text("scale_factor = 2\nplan = []\n")
    given = {**PROMPTS[name], **({"profile": "quick.toml"} if "restore" in name else {})}
    if name == "diagnose":
        given["photo"] = "noisy.jpg"
    async with Client(server) as client:
        calls = calls_in(await prompt_text(client, name, given))
        assert calls
        for tool, arguments in calls:
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, (tool, arguments, result.content)


async def test_the_folder_prompt_lists_the_photos_and_only_of_allowed_folders(
    server: MCPServer[Any], photos: Any, tmp_path: Path
) -> None:
    (photos.folder / "notes.txt").write_text("no photo")
    (photos.folder / "empty").mkdir()
    (photos.folder / "deep" / "er").mkdir(parents=True)
    (photos.folder / "deep" / "er" / "third.png").write_bytes(photos.clean.read_bytes())
    async with Client(server) as client:
        text = await prompt_text(client, "restore_folder", {"folder": str(photos.folder)})
        assert "It has 3 photos" in text
        assert "notes.txt" not in text
        for folder in (str(tmp_path), "..", "noisy.jpg", "empty"):
            with pytest.raises(Exception, match=r"allowed folders|not a folder|no photos"):
                await client.get_prompt("restore_folder", {"folder": folder})
