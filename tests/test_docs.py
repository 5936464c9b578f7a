"""Documents: generated parts are up to date, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import BLOCK, BLOCKS, REPOSITORY, generated, outdated, pages

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINKED = [*pages(), *(REPOSITORY / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
LINKED.append(REPOSITORY / "benchmarks" / "README.md")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_parts_are_up_to_date() -> None:
    assert not [page.name for page in outdated()], "run: make docs"


def test_every_generator_has_its_place_in_a_page() -> None:
    places = {block["name"] for page in pages() for block in BLOCK.finditer(page.read_text("utf-8"))}
    assert places == set(BLOCKS)


def test_outdated_parts_are_replaced_and_the_rest_is_kept() -> None:
    page = "before\n<!-- generated: tools -->\nout of date\n<!-- end -->\nafter\n"
    new = generated(page)
    assert new.startswith("before\n<!-- generated: tools -->\n\n| tool |")
    assert new.endswith("|\n\n<!-- end -->\nafter\n")
    assert "out of date" not in new
    assert generated(new) == new


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_between_pages_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
