"""Published metrics: random weights in the true file formats give values in range; other files are refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imaging.convert import from_numpy
from imaging.image import Image
from iqa.errors import MetricMissing
from iqa.published import measure_published, missing_for, pkg_resources_provided, published_metrics
from toolbox.errors import WeightsError
from toolbox.pool import ModelPool
from toolbox.store import ModelStore


def picture(height: int, width: int, seed: int = 0) -> Image:
    return Image(from_numpy(np.random.default_rng(seed).random((height, width, 3))))


def random_musiq(file: Path) -> None:
    from pyiqa.archs.musiq_arch import MUSIQ

    torch.save(MUSIQ(pretrained=False).state_dict(), file)


def random_topiq(file: Path) -> None:
    from pyiqa.archs.topiq_arch import CFANet

    torch.save({"params": CFANet(pretrained=False, backbone_pretrain=False, use_ref=False).state_dict()}, file)


def random_brisque(file: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.save((torch.randn(770, 1, generator=generator), torch.randn(770, 36, generator=generator)), file)


def random_clip(file: Path) -> None:
    with pkg_resources_provided():
        from clip.model import CLIP

    torch.manual_seed(0)
    network = CLIP(64, 224, (1, 1, 1, 1), 16, None, 77, 49408, 64, 1, 1).eval()
    words = torch.zeros(1, 77, dtype=torch.int64)
    torch.jit.save(torch.jit.trace(network, (torch.zeros(1, 3, 224, 224), words), check_trace=False), file)


RANDOM: dict[str, Callable[[Path], None]] = {
    "musiq": random_musiq,
    "topiq_nr": random_topiq,
    "brisque": random_brisque,
    "clipiqa": random_clip,
}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


@pytest.mark.filterwarnings("ignore")  # what the libraries say to each other
@pytest.mark.parametrize("name", RANDOM)
def test_a_metric_runs_from_a_file_in_its_true_format(name: str, store: ModelStore) -> None:
    metric = published_metrics()[name]
    RANDOM[name](store.path(metric.file.name))
    pool = ModelPool()
    images = [picture(224, 230, 1), picture(230, 224), picture(224, 230, 2)]
    values = [measure_published([name], image, pool, store)[name] for image in images]
    assert np.isfinite(values).all()
    assert len(set(values)) == 3
    assert measure_published([name], images[2], pool, store)[name] == pytest.approx(values[2], rel=1e-3, abs=1e-4)
    assert pool.loaded() == (f"metric {name}",)


def test_missing_metrics_are_reported_with_the_command_that_installs_them(store: ModelStore) -> None:
    for metric in published_metrics().values():
        assert f"restore4k models pull {metric.name}" in missing_for(metric, store)
    with pytest.raises(MetricMissing, match="musiq"):
        measure_published(["musiq"], picture(64, 64), ModelPool(), store)
    with pytest.raises(MetricMissing, match="unknown metric"):
        measure_published(["beauty"], picture(64, 64), ModelPool(), store)


class Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (Path("owned"), "x"))


@pytest.mark.parametrize("content", [b"no weights at all", pickle.dumps(Attack())], ids=["text", "code"])
def test_foreign_content_is_refused_before_any_library_reads_it(
    content: bytes, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.path(published_metrics()["musiq"].file.name).write_bytes(content)
    with pytest.raises(WeightsError, match="is not a file of weights"):
        measure_published(["musiq"], picture(64, 64), ModelPool(), store)
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_network_are_refused(store: ModelStore) -> None:
    torch.save({"layer.weight": torch.zeros(3, 3)}, store.path(published_metrics()["musiq"].file.name))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        measure_published(["musiq"], picture(64, 64), ModelPool(), store)
