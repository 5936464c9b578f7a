"""Errors of profiles.

RestoreError
└── ProfileError          a profile cannot be used
    └── UnknownProfile    no predefined profile has that name, and no such file exists
"""

from __future__ import annotations

from imaging.errors import RestoreError


class ProfileError(RestoreError):
    """A profile cannot be used; the message names the file and the key."""


class UnknownProfile(ProfileError):
    """No predefined profile has that name, and no such file exists."""
