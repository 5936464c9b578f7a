"""Folders of pictures with links that lead nowhere, and folders nested more deeply than function calls."""

from __future__ import annotations

import os

from tests.agent.batch.scripted import Folder, counts
from tests.nested_folders import nested_folders


def test_a_link_that_leads_nowhere_does_not_hide_its_folder(folder: Folder) -> None:
    folder.add("a.png", "z.png")
    for name, target in (("circle", "circle.png"), ("gone", "nothing"), ("long", "n" * 300), ("here", ".")):
        (folder.source / f"{name}.png").symlink_to(target)
    os.mkfifo(folder.source / "pipe.png")
    assert counts(folder.run()) == (2, 0, 0, 0)


def test_folders_nested_too_deeply_fail_and_all_others_are_restored(folder: Folder) -> None:
    folder.add("a.png", "z/b.png")
    with nested_folders(folder.source) as deepest:
        deepest.joinpath("c.png").write_bytes(b"picture")
        report = folder.run()
    assert (report.done, report.failed) == (2, 1)
    assert "folders deep" in report.failures[0].reason
