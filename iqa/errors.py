"""What can go wrong when quality is measured.

RestoreError
└── MetricError           a metric cannot answer
    ├── SizesDiffer       image and reference have different sizes
    ├── ImageTooSmall     fewer pixels than the metric's window
    ├── BadMetric         two metrics of one name, or a metric module without METRIC
    ├── MetricMissing     a metric that is not known, or whose library or weights are not here
    └── BadParameters     a file of fitted parameters is missing or has the wrong content
"""

from __future__ import annotations

from imaging.errors import RestoreError


class MetricError(RestoreError):
    """A metric cannot answer."""


class SizesDiffer(MetricError):
    """Image and reference have different sizes."""


class ImageTooSmall(MetricError):
    """The image has fewer pixels than the metric's window."""


class BadMetric(MetricError):
    """Two metrics of one name, or a metric module without METRIC."""


class MetricMissing(MetricError):
    """A metric that is not known, or whose library or weights are not here."""


class BadParameters(MetricError):
    """A file of fitted parameters is missing or has the wrong content."""
