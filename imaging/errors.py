"""The errors of the ground floor; every other package hangs its own below `RestoreError`.

RestoreError            anything that this project raises on purpose
├── ImageError          an image file or its data cannot be used
│   ├── NotAnImage      no decoder knows it, or it is empty
│   ├── BrokenImage     known, but truncated or corrupt
│   ├── UnsupportedImage  readable, but nothing that can be restored (animated, zero size, odd kind)
│   └── ImageTooLarge   more pixels or bytes than the limits allow
├── OutputError         the result cannot be written
│   └── OutputExists    a file is there already and overwriting was not asked for
├── ResourceError       the machine has not enough of something
└── Cancelled           the caller asked to stop
"""

from __future__ import annotations


class RestoreError(Exception):
    """What was wrong, with what value, and what to do next (`hint`)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class ImageError(RestoreError):
    """An image file or its data cannot be used."""


class NotAnImage(ImageError):
    """No decoder knows the data, or there is none."""


class BrokenImage(ImageError):
    """The format is known, but the data is truncated or corrupt."""


class UnsupportedImage(ImageError):
    """The image can be read, but is nothing that can be restored (animated, zero size, odd kind)."""


class ImageTooLarge(ImageError):
    """The image has more pixels or bytes than the limits allow."""


class OutputError(RestoreError):
    """The result cannot be written."""


class OutputExists(OutputError):
    """A file is there already and overwriting was not asked for."""


class ResourceError(RestoreError):
    """The machine has not enough of something (memory, disk, a device)."""


class Cancelled(RestoreError):
    """The caller asked to stop."""

    def __init__(self) -> None:
        super().__init__("cancelled")
