"""What callers of the server can do wrong.

RestoreError
└── RequestError        what was asked for cannot be done as it was asked
    ├── AccessDenied    a path outside the allowed folders
    ├── UnknownHandle   no image of that handle in the workspace
    ├── BadData         image data that is not base64, or too much of it
    ├── BadAddress      a web address that is not fetched, or does not answer with an image's bytes
    ├── TooMuchAsked    a result larger, or work longer, than the server's limits
    └── Busy            too many calls wait already
"""

from __future__ import annotations

from imaging.errors import RestoreError


class RequestError(RestoreError):
    """What was asked for cannot be done as it was asked."""


class AccessDenied(RequestError):
    """A path outside the allowed folders."""


class UnknownHandle(RequestError):
    """No image of that handle in the workspace."""


class BadData(RequestError):
    """Image data that is not base64, or too much of it."""


class BadAddress(RequestError):
    """A web address that is not fetched, or does not answer with an image's bytes."""


class TooMuchAsked(RequestError):
    """A result larger, or work longer, than the server's limits."""


class Busy(RequestError):
    """Too many calls wait already."""
