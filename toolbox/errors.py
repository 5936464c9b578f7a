"""Errors of experts, cards and weight files.

RestoreError
├── RegistryError
│   ├── UnknownExpert     no card has that name
│   ├── BadCard           a card is invalid or refers to something that does not exist
│   └── DuplicateExpert   two cards have the same name
├── WeightsError
│   ├── WeightsMissing    a weight file is missing
│   └── DownloadFailed    a file could not be downloaded
└── ExpertError           an expert failed or returned an invalid result
"""

from __future__ import annotations

from imaging.errors import RestoreError


class RegistryError(RestoreError):
    """An invalid request to, or entry of, the catalogue of experts."""


class UnknownExpert(RegistryError):
    """No card has that name."""


class BadCard(RegistryError):
    """A card is invalid or refers to something that does not exist."""


class DuplicateExpert(RegistryError):
    """Two cards have the same name."""


class WeightsError(RestoreError):
    """A weight file cannot be used."""


class WeightsMissing(WeightsError):
    """A weight file is missing."""


class DownloadFailed(WeightsError):
    """A file could not be downloaded."""


class ExpertError(RestoreError):
    """An expert failed or returned an invalid result."""
