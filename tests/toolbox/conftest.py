"""A models folder with small random diffusion models in the file layout of their publishers."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolbox.store import ModelStore


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A models folder with all files."""
    from tests.toolbox.diffusion_models import BASE, UPSCALER, write_base, write_osediff, write_pisasr, write_upscaler

    store = ModelStore(tmp_path_factory.mktemp("models"))
    write_base(store.path(BASE))
    write_upscaler(store.path(UPSCALER))
    write_osediff(store.path("osediff.pkl"), store.path(BASE))
    write_pisasr(store.path("pisa_sr.pkl"), store.path(BASE))
    return store


@pytest.fixture
def store(published: ModelStore, tmp_path: Path) -> ModelStore:
    """A copy (symlinks) whose files a test may replace."""
    for file in published.folder.rglob("*"):
        if file.is_file():
            mine = tmp_path / file.relative_to(published.folder)
            mine.parent.mkdir(parents=True, exist_ok=True)
            mine.symlink_to(file)
    return ModelStore(tmp_path)
