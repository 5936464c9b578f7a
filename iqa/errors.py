"""The errors of quality assessment.

RestoreError
└── MetricError           a metric cannot be computed
    ├── SizesDiffer       image and reference have different sizes
    ├── ImageTooSmall     fewer pixels than the metric's window
    ├── BadMetric         two metrics have one name, or an entry point names no metric
    ├── MetricMissing     a metric is unknown, or its library or weights are not installed
    └── BadParameters     a file of fitted parameters is missing or has the wrong content
"""

from __future__ import annotations

from imaging.errors import RestoreError


class MetricError(RestoreError):
    """A metric cannot be computed."""


class SizesDiffer(MetricError):
    """Image and reference have different sizes."""


class ImageTooSmall(MetricError):
    """The image has fewer pixels than the metric's window."""


class BadMetric(MetricError):
    """Two metrics have one name, or an entry point names no metric."""


class MetricMissing(MetricError):
    """A metric is unknown, or its library or weights are not installed."""


class BadParameters(MetricError):
    """A file of fitted parameters is missing or has the wrong content."""
