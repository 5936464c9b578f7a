"""Bad files in the models folder spoil only themselves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli.app import app
from toolbox.store import ModelStore

CARD = """
["{name}"]
task = "denoising"
loader = "spandrel"
file = {{ name = "{name}.pth" }}
about = "Mine."
source = "me"
"""
BAD_CARDS: dict[str, bytes] = {
    "cooking": CARD.format(name="cooking").replace("denoising", "cooking").encode(),
    "net_v1.5": CARD.format(name="net_v1.5").replace('"net_v1.5"]', "net_v1.5]").encode(),
    "twice": CARD.format(name="nlm_denoise").encode(),
    "latin": b"[latin]\nabout = '\xe9'\n",
    "delete": b"[delete]\nlicence = '\x7f'\n",
    "lists": b"lists = " + b"[" * 8000,
    "tables": b".".join([b"a"] * 8000) + b" = 1",
    "digits": b"[digits]\nscale = " + b"9" * 9000,
    "large": b"#" * (2 << 20),
    "empty": b"\0" * 10,
}


def test_bad_cards_spoil_only_themselves_and_can_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    store = ModelStore()
    cards = store.custom_card("good.v2").parent
    cards.mkdir(parents=True)
    store.custom_card("good.v2").write_text(CARD.format(name="good.v2"))
    for name, content in BAD_CARDS.items():
        store.custom_card(name).write_bytes(content)
    os.mkfifo(store.custom_card("pipe"))
    store.custom_card("folder").mkdir()
    store.path("net_v1.5.pth").write_bytes(b"weights")
    store.path("index.json").write_bytes(b'{"files": [1]}')
    result = CliRunner().invoke(app, ["experts"])
    assert result.exit_code == 0, result.output
    assert "good.v2" in result.stdout
    checks = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)["checks"]
    (found,) = [check["found"] for check in checks if check["name"] == "experts"]
    assert [name for name in (*BAD_CARDS, "pipe", "folder") if f"{cards / name}.toml" not in found] == []
    store.custom_card("folder").rmdir()
    for name in (*BAD_CARDS, "pipe", "good.v2"):
        assert CliRunner().invoke(app, ["models", "remove", name]).exit_code == 0, name
    assert list(store.files()) == store.custom_cards() == []
    assert store.path("index.json.damaged").is_file()
