"""The registry of metrics; listing them loads neither torch nor parameters."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Literal

from iqa import metrics
from iqa.errors import BadMetric


@dataclass(frozen=True, slots=True)
class Metric:
    """One quality metric. A module in iqa/metrics/ lists it in `METRICS`."""

    name: str
    higher_is_better: bool
    range: tuple[float, float]
    """The smallest and the largest value of `measure`."""
    reference: Literal["none", "full"]
    """Whether it needs the original image."""
    about: str
    measure: Callable[..., float]
    """`measure(image)` where reference is "none", `measure(image, reference)` where it is "full"; `Image`s."""


@cache
def default_metrics() -> MappingProxyType[str, Metric]:
    """The embedded metrics, then those of other distributions (entry points `restore4k.metrics`), by name.

    An entry point names a `Metric`. Raises `BadMetric` if it names something else, or a name is used twice.
    """
    found: dict[str, Metric] = {}
    for module in pkgutil.iter_modules(metrics.__path__, f"{metrics.__name__}."):
        for metric in importlib.import_module(module.name).METRICS:
            _add(found, metric, module.name)
    for entry in entry_points(group="restore4k.metrics"):
        _add(found, entry.load(), entry.value)
    return MappingProxyType(found)


def _add(found: dict[str, Metric], metric: object, source: str) -> None:
    if not isinstance(metric, Metric):
        raise BadMetric(f"{source} defines {metric!r} instead of a Metric", "name a Metric(...) there")
    if metric.name in found:
        raise BadMetric(f"two metrics are called {metric.name!r}, the second in {source}", "rename one of them")
    found[metric.name] = metric
