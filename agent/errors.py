"""Errors of runs, batches and language models.

RestoreError
├── PlanError   no plan can be made (for example an enlargement that no expert offers)
├── RunError    a run folder cannot be used: missing, of another version, damaged, locked, or its disk is full
├── RegionError a picture does not have the named region
├── BatchError  a folder of pictures cannot be restored as requested
├── WorkerDied  a batch worker ended before it finished its picture
└── ModelError  a language model is not set up, cannot be reached or gives no usable reply
    └── BadReply  the reply is not in the requested form; a second attempt may succeed
"""

from __future__ import annotations

from imaging.errors import RestoreError


class PlanError(RestoreError):
    """No plan can be made for the request."""


class RunError(RestoreError):
    """A run folder cannot be used: missing, of another version, damaged, locked, or its disk is full."""


class RegionError(RestoreError):
    """A picture does not have the named region."""


class BatchError(RestoreError):
    """A folder of pictures cannot be restored as requested."""


class WorkerDied(RestoreError):
    """A batch worker ended before it finished its picture."""


class ModelError(RestoreError):
    """A language model is not set up, cannot be reached or gives no usable reply."""


class BadReply(ModelError):
    """The reply is not in the requested form; a second attempt may succeed."""
