"""What can go wrong with experts.

RestoreError
├── RegistryError
│   ├── UnknownExpert     no card of that name
│   ├── BadCard           a card that cannot be read, or names what does not exist
│   └── DuplicateExpert   two cards of one name
├── WeightsError
│   ├── WeightsMissing    the card's weight file is not here
│   └── DownloadFailed    a file could not be fetched
└── ExpertError           an expert failed, or broke its promise about its output
"""

from __future__ import annotations

from imaging.errors import RestoreError


class RegistryError(RestoreError):
    """The catalogue of experts is asked or told something impossible."""


class UnknownExpert(RegistryError):
    """No card of that name."""


class BadCard(RegistryError):
    """A card that cannot be read, or names what does not exist."""


class DuplicateExpert(RegistryError):
    """Two cards of one name."""


class WeightsError(RestoreError):
    """A weight file is not usable."""


class WeightsMissing(WeightsError):
    """The card's weight file is not here."""


class DownloadFailed(WeightsError):
    """A file could not be fetched."""


class ExpertError(RestoreError):
    """An expert failed, or broke its promise about its output."""
