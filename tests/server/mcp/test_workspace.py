from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.state import Step, Verdict
from imaging.decoding.colour import srgb_profile
from imaging.errors import ResourceError
from imaging.image import Image
from imaging.writing import encode_image
from server.errors import UnknownHandle
from server.mcp.workspace import CandidateOf, Workspace
from toolbox.tasks import Task


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def image() -> Image:
    return Image(torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(1)))


def candidate(expert: str) -> CandidateOf:
    return CandidateOf(
        parent=f"img_{'0' * 32}", step=Step(task=Task.DENOISING), verdict=Verdict(expert=expert, score=0.5)
    )


def test_an_image_comes_back_as_it_was_to_16_bit(workspace: Workspace, image: Image) -> None:
    image = replace(image, alpha=torch.rand(1, 20, 30), exif=None)
    loaded = workspace.load(workspace.store_image(image))
    assert torch.allclose(loaded.pixels, image.pixels, atol=0.5 / 65535 + 1e-7)
    assert loaded.alpha is not None
    assert torch.allclose(loaded.alpha, image.alpha, atol=0.5 / 65535 + 1e-7)
    assert loaded.bit_depth == image.bit_depth == 8


def test_what_is_hidden_is_filled_in_a_callers_file_and_left_in_what_was_made_here(workspace: Workspace) -> None:
    alpha = torch.ones(1, 20, 30)
    alpha[:, :, 15:] = 0
    image = Image(alpha.expand(3, -1, -1).contiguous(), alpha)
    stored, given = workspace.store_image(image), workspace.store_file(encode_image(image, "PNG"))
    assert float(workspace.load(stored).pixels[:, :, 15:].max()) == 0
    assert float(workspace.load(given).pixels.min()) == 1


def test_equal_images_have_one_handle_and_others_another(workspace: Workspace, image: Image) -> None:
    other = image.with_pixels(1 - image.pixels)
    assert workspace.store_image(image) == workspace.store_image(image) != workspace.store_image(other)


def test_equal_images_by_two_experts_keep_their_own_verdicts(workspace: Workspace, image: Image) -> None:
    first, second = (workspace.store_image(image, candidate(expert)) for expert in ("first", "second"))
    assert workspace.candidate(first) == candidate("first")
    assert workspace.candidate(second) == candidate("second")


def test_handles_outlive_the_server(workspace: Workspace, image: Image) -> None:
    handle = workspace.store_image(image, candidate("expert"))
    again = Workspace(workspace.folder)
    assert again.candidate(handle) == candidate("expert")
    assert again.load(handle).width == 30


def test_a_file_is_kept_byte_by_byte(workspace: Workspace) -> None:
    handle = workspace.store_file(b"the bytes")
    assert workspace.path(handle).read_bytes() == b"the bytes"


@pytest.mark.parametrize("handle", [f"img_{'a' * 32}", "../../etc/passwd", "img_", "", f"IMG_{'A' * 32}"])
def test_unknown_handles_are_refused(workspace: Workspace, handle: str) -> None:
    with pytest.raises(UnknownHandle):
        workspace.load(handle)


def test_a_write_that_was_killed_leaves_no_handle(workspace: Workspace, image: Image) -> None:
    handle = workspace.store_image(image)
    workspace.path(handle).unlink()  # killed after the origin was written and before the picture was
    with pytest.raises(UnknownHandle):
        workspace.load(handle)


def unused_for(workspace: Workspace, handle: str, days: float) -> None:
    then = time.time() - days * 24 * 3600
    os.utime(workspace.path(handle), (then, then))


def test_a_full_workspace_lets_go_of_what_was_unused_for_longest(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, max_bytes=3000)
    old, older, third = (workspace.store_file(bytes([number]) * 1000) for number in range(3))
    unused_for(workspace, old, 2)
    unused_for(workspace, older, 3)
    unused_for(workspace, third, 1)
    fourth = workspace.store_file(b"x" * 1000)
    with pytest.raises(UnknownHandle, match="give the image again"):
        workspace.path(older)
    for handle in (old, third, fourth):
        workspace.path(handle)


def test_a_workspace_full_of_fresh_images_refuses_more_and_loses_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, max_bytes=2500)
    handles = [workspace.store_file(bytes([number]) * 1000) for number in range(2)]
    with pytest.raises(ResourceError, match="within the hour"):
        workspace.store_file(b"x" * 1000)
    assert [workspace.path(handle).stat().st_size for handle in handles] == [1000, 1000]


def test_images_expire_with_what_was_known_of_them(workspace: Workspace, image: Image) -> None:
    expired = workspace.store_image(image, candidate("expert"), "beach")
    used = workspace.store_file(b"the bytes", "harbour")
    assert (workspace.name(expired), workspace.name(used)) == ("beach", "harbour")
    unused_for(workspace, expired, 40)
    unused_for(workspace, used, 20)
    left = workspace.folder / ".img_x.image.00.part"  # by a kill
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    workspace.store_file(b"others")
    assert {file.name for file in workspace.folder.iterdir() if expired in file.name or "part" in file.name} == set()
    workspace.path(used)


def test_nothing_is_written_to_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "new", free_bytes=1 << 60)
    with pytest.raises(ResourceError, match="MiB left"):
        workspace.store_file(b"the bytes")
    assert not (tmp_path / "new").exists()


def test_a_damaged_image_is_written_again_and_odd_entries_are_left_alone(workspace: Workspace, image: Image) -> None:
    given, stored = workspace.store_file(encode_image(image, "PNG")), workspace.store_image(image)
    for handle in (given, stored):
        (workspace.folder / f"{handle}.image").write_bytes(b"")  # as a power failure leaves it
    (workspace.folder / f"img_{'0' * 32}.image").mkdir()
    (workspace.folder / "img_0123456789ab.image").write_bytes(b"of an earlier version")
    os.utime(workspace.folder / "img_0123456789ab.image", (0, 0))
    assert (workspace.store_file(encode_image(image, "PNG")), workspace.store_image(image)) == (given, stored)
    for handle in (given, stored):
        assert workspace.load(handle).width == image.width
    assert not (workspace.folder / "img_0123456789ab.image").exists()


@pytest.mark.parametrize(
    "edit",
    [
        {"metadata": "a" * 50},
        {"metadata": "[]"},
        {"metadata": "{}"},
        {"metadata": json.dumps({"exif": 1, "xmp": "", "iptc": ""})},
        {"network_profile": "not base64"},
        {"bit_depth": 7},
        {"candidate": {}},
    ],
    ids=str,
)
def test_an_edited_image_is_refused(workspace: Workspace, image: Image, edit: dict[str, Any]) -> None:
    handle = workspace.store_image(image)
    file = workspace.folder / f"{handle}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | edit))
    with pytest.raises(UnknownHandle, match="damaged or of another version"):
        workspace.load(handle)


def test_images_that_were_made_from_each_other_are_loaded(workspace: Workspace, image: Image) -> None:
    first, second = workspace.store_image(image), workspace.store_image(image.with_note("another"))
    verdict = {"expert": "one", "score": 0.5}
    for handle, parent in ((first, second), (second, first)):
        file = workspace.folder / f"{handle}.json"
        made = {"parent": parent, "step": {"task": "denoising"}, "verdict": verdict}
        profile = base64.b64encode(srgb_profile()).decode()
        file.write_text(json.dumps(json.loads(file.read_text()) | {"candidate": made, "network_profile": profile}))
    assert workspace.load(first).width == image.width


def test_images_of_a_clock_that_was_ahead_make_room(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", max_bytes=100, free_bytes=0)
    old, newer = workspace.store_file(b"o" * 40), workspace.store_file(b"n" * 40)
    for handle in (old, newer):
        ahead = time.time() + 365 * 86400
        os.utime(workspace.folder / f"{handle}.image", (ahead, ahead))
    workspace.path(newer)  # used after the clock was set back
    latest = workspace.store_file(b"l" * 50)
    assert workspace.handles() == [latest, newer]


def test_handles_hold_128_bits_and_are_compared_in_full(workspace: Workspace) -> None:
    handle = workspace.store_file(b"the bytes")
    assert len(handle.removeprefix("img_")) * 4 >= 128
    for other in (handle[:16], handle[:-1] + "0123456789abcdef"[int(handle[-1], 16) - 1]):
        with pytest.raises(UnknownHandle):
            workspace.path(other)
