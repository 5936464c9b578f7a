"""The list of metrics: found by walking the folder, extended by entry points, cheap to ask for."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

import iqa.metric
from iqa.errors import BadMetric
from iqa.metric import Metric, default_metrics

SHARPNESS = Metric("sharpness", True, (0.0, 1.0), "none", "how sharp", lambda image: 0.5)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch):  # noqa: ANN201
    """Makes another distribution offer something as a metric."""

    def install(value: object) -> None:
        entry = SimpleNamespace(load=lambda: value, value="other.module:METRIC")
        monkeypatch.setattr(iqa.metric, "entry_points", lambda group: [entry] if group == "restore4k.metrics" else [])
        default_metrics.cache_clear()

    yield install
    default_metrics.cache_clear()


def test_the_embedded_metrics_are_found_under_their_own_names() -> None:
    metrics = default_metrics()
    assert {"psnr", "psnr_y", "ssim", "ssim_y", "niqe"} <= set(metrics)
    assert all(name == metric.name for name, metric in metrics.items())
    assert not metrics["niqe"].higher_is_better
    assert metrics["psnr"].higher_is_better


def test_listing_imports_neither_torch_nor_opencv_nor_parameters() -> None:
    code = "import sys; from iqa.metric import default_metrics; default_metrics(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "cv2", "scipy", "skimage", "safetensors"} & set(loaded)


def test_a_metric_of_another_distribution_joins_the_list(offer) -> None:  # noqa: ANN001
    offer(SHARPNESS)
    assert default_metrics()["sharpness"] is SHARPNESS


def test_a_second_metric_of_one_name_is_refused(offer) -> None:  # noqa: ANN001
    offer(Metric("psnr", True, (0.0, 1.0), "none", "an impostor", lambda image: 0.5))
    with pytest.raises(BadMetric, match="psnr"):
        default_metrics()


def test_an_invalid_metric_is_refused_with_its_source(offer) -> None:  # noqa: ANN001
    offer("sharpness")
    with pytest.raises(BadMetric, match=r"other\.module"):
        default_metrics()
