"""Damaged files of parameters: one error that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iqa.degradation_net import ESTIMATOR, degradation_net
from iqa.errors import BadParameters
from iqa.parameters import read_toml
from iqa.published import published_metrics
from toolbox.pool import ModelPool


@pytest.mark.parametrize("content", [b"no parameters", b"\xff" * 100, b"[musiq]\nno_such_key = 1\n"])
@pytest.mark.parametrize(
    ("file", "load"),
    [(ESTIMATOR, lambda: degradation_net(ModelPool())), ("published.toml", published_metrics.__wrapped__)],
)
def test_a_damaged_file_is_named(
    file: str, load: Callable[[], object], content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_bytes(content)
    monkeypatch.setattr("iqa.parameters.resources.files", lambda _: tmp_path)
    monkeypatch.setattr("iqa.published.read_toml", read_toml.__wrapped__)
    with pytest.raises(BadParameters, match=rf"(?s)iqa/{file} is not usable.*install restore4k again"):
        load()
