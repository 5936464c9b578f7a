"""Where networks run."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from imaging.errors import ResourceError

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "RESTORE4K_DEVICE"


@cache
def best_device() -> torch.device:
    """The device named by RESTORE4K_DEVICE; otherwise CUDA, Apple's GPU or the CPU, the first that is there.

    Raises `ResourceError` for a name that torch does not know or a device that is not there.
    """
    import torch

    wanted = os.environ.get(DEVICE_VARIABLE)
    if wanted:
        try:
            device = torch.device(wanted)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ResourceError(
                f"{DEVICE_VARIABLE}={wanted!r} is not usable here: {error}",
                "unset it, or name cpu, cuda or mps",
            ) from error
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
