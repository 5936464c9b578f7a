"""Errors of runs, batches and language models.

RestoreError
├── PlanError   no plan can be made (for example an enlargement that no expert offers)
├── RunError    a run folder cannot be used: not there, of another version, damaged, held, or its disk is full
├── RegionError a part of a picture was named that it does not have
├── BatchError  a folder of pictures cannot be restored as it was asked
├── WorkerDied  a worker of a batch ended before its picture did
└── ModelError  a language model is not set up, cannot be reached or gives nothing usable
    └── BadReply  it answered, but not what was asked; asking once more may help
"""

from __future__ import annotations

from imaging.errors import RestoreError


class PlanError(RestoreError):
    """No plan can be made of what was asked."""


class RunError(RestoreError):
    """A run folder cannot be used: not there, of another version, damaged, held, or its disk is full."""


class RegionError(RestoreError):
    """A part of a picture was named that it does not have."""


class BatchError(RestoreError):
    """A folder of pictures cannot be restored as it was asked."""


class WorkerDied(RestoreError):
    """A worker of a batch ended before its picture did."""


class ModelError(RestoreError):
    """A language model is not set up, cannot be reached or gives nothing usable."""


class BadReply(ModelError):
    """It answered, but not what was asked; asking once more may help."""
