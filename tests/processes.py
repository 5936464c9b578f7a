"""Waits for the end of a process that is not a child of this one."""

from __future__ import annotations

import os
import select
import sys

import psutil

PATIENCE_SECONDS = 120


def wait_for_end_of(number: int) -> None:
    """Return when the process has ended, also if nobody has waited for it yet. Fails after two minutes."""
    try:
        if sys.platform != "linux":
            psutil.Process(number).wait(PATIENCE_SECONDS)
            return
        process = os.pidfd_open(number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
    ended, _, _ = select.select([process], [], [], PATIENCE_SECONDS)
    os.close(process)
    assert ended, f"process {number} lives on"
