"""The errors of this package; those of the other packages are subclasses of `RestoreError`, too.

RestoreError            base class of all errors of restore4k
├── ImageError          an image file or its data cannot be used
│   ├── NotAnImage      the data is empty or of an unknown format
│   ├── BrokenImage     the data is truncated or corrupt
│   ├── UnsupportedImage  the image cannot be restored (too small, unsupported kind)
│   │   └── NoSuchPage  the file has fewer pages or frames
│   └── ImageTooLarge   the image has more pixels or bytes than the limits allow
├── OutputError         the result cannot be written
│   └── OutputExists    the file exists and overwriting was not requested
├── ResourceError       the machine lacks memory, disk space or a device
└── Cancelled           the caller asked to stop
"""

from __future__ import annotations


class RestoreError(Exception):
    """Says what was wrong, with which value, and what to do next (`hint`)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class ImageError(RestoreError):
    """An image file or its data cannot be used."""


class NotAnImage(ImageError):
    """The data is empty or of an unknown format."""


class BrokenImage(ImageError):
    """The data is truncated or corrupt."""


class UnsupportedImage(ImageError):
    """The image cannot be restored (too small, unsupported kind)."""


class NoSuchPage(UnsupportedImage):
    """The file has fewer pages or frames than the requested number."""


class ImageTooLarge(ImageError):
    """The image has more pixels or bytes than the limits allow."""


class OutputError(RestoreError):
    """The result cannot be written."""


class OutputExists(OutputError):
    """The file exists and overwriting was not requested."""


class ResourceError(RestoreError):
    """The machine lacks memory, disk space or a device."""


class Cancelled(RestoreError):
    """The caller asked to stop."""

    def __init__(self) -> None:
        super().__init__("cancelled")
