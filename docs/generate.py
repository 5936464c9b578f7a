"""Generated parts of README.md and docs/*.md: `python -m docs.generate` writes them, `--check` only compares.

What stands between `<!-- generated: NAME -->` and `<!-- end -->` in a page comes from the function `BLOCKS[NAME]`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs import command_line, experts, formats, profiles, tools

REPOSITORY = Path(__file__).parents[1]
BLOCKS: Mapping[str, Callable[[], str]] = {
    "tools": tools.overview,
    "tool reference": tools.reference,
    "tool costs": tools.costs,
    "reply costs": tools.reply_costs,
    "experts": experts.overview,
    "experts of 4KAgent": experts.of_4kagent,
    "further experts": experts.further,
    "profiles": profiles.overview,
    "profile keys": profiles.keys,
    "command line": command_line.reference,
    "round trip": formats.round_trip,
}
BLOCK = re.compile(r"(<!-- generated: (?P<name>[^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every page that may hold generated parts."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def generated(page: str) -> str:
    """The text of a page with its generated parts as they should be."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{BLOCKS[block['name']]().strip()}\n\n{block[3]}", page)


def outdated() -> dict[Path, str]:
    """The pages whose generated parts are out of date, with their new text."""
    texts = {page: page.read_text("utf-8") for page in pages()}
    return {page: new for page, text in texts.items() if (new := generated(text)) != text}


def main() -> None:
    """Write the pages that are out of date; with `--check` name them and exit with code 1."""
    found = outdated()
    if "--check" in sys.argv[1:] and found:
        sys.exit(f"out of date, run `make docs`: {', '.join(page.name for page in found)}")
    for page, text in found.items():
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
