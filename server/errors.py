"""Errors in requests to the server.

RestoreError
└── RequestError        the request cannot be served as it is
    ├── AccessDenied    a path is outside the allowed folders
    ├── UnknownHandle   the workspace has no image with that handle
    ├── UnknownRun      there is no run with that identifier
    ├── BadData         image data is not base64, or too large
    ├── BadAddress      a URL may not be fetched, or does not return an image
    ├── TooMuchAsked    a result or its work would exceed the server's limits
    └── Busy            too many calls are waiting
"""

from __future__ import annotations

from imaging.errors import RestoreError


class RequestError(RestoreError):
    """The request cannot be served as it is."""


class AccessDenied(RequestError):
    """A path is outside the allowed folders."""


class UnknownHandle(RequestError):
    """The workspace has no image with that handle."""


class UnknownRun(RequestError):
    """There is no run with that identifier."""


class BadData(RequestError):
    """Image data is not base64, or too large."""


class BadAddress(RequestError):
    """A URL may not be fetched, or does not return an image."""


class TooMuchAsked(RequestError):
    """A result or its work would exceed the server's limits."""


class Busy(RequestError):
    """Too many calls are waiting."""
