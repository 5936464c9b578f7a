"""Downloads from a source that drips or is silent: it has a few seconds for its answer, then a least rate."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from toolbox import downloading
from toolbox.downloading import pull
from toolbox.errors import DownloadFailed
from toolbox.store import ModelStore, WeightFile

FILE = WeightFile(name="net.pth", urls=("https://models.example/net.pth",), size=1_000_000)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("drips its head", "did not answer"), ("is silent", "did not answer"), ("drips its body", "sends less")],
)
def test_a_source_has_so_many_seconds_whatever_it_sends_meanwhile(
    kind: str, message: str, hostile_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE4K_MIRRORS", f"https://models.example={hostile_host(kind)}")
    monkeypatch.setattr(downloading, "START_SECONDS", 0.5)
    with pytest.raises(DownloadFailed, match=message):
        pull(FILE, ModelStore(tmp_path))
    assert not (tmp_path / FILE.name).exists()


@pytest.mark.parametrize("kind", ["drips its head", "is silent", "drips its body"])
def test_a_download_that_does_not_get_on_can_be_cancelled(
    kind: str, hostile_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTORE4K_MIRRORS", f"https://models.example={hostile_host(kind)}")
    token = ProgressToken()
    threading.Timer(0.3, token.cancel).start()
    with pytest.raises(Cancelled):
        pull(FILE, ModelStore(tmp_path), token)
