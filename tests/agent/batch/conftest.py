"""An empty folder of pictures."""

from pathlib import Path

import pytest

from tests.agent.batch.scripted import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
