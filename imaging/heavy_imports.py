"""Imports of large libraries, with less work for the garbage collector."""

from __future__ import annotations

import gc
import importlib
import sys


def import_heavy(*names: str) -> None:
    """Import modules with garbage collection disabled, and exempt their objects from later collections.

    These objects live until the process ends. Traversing them during the import, during the work and at the end would
    take a fifth of the time of importing torch.
    """
    missing = [name for name in names if name not in sys.modules]
    collects = gc.isenabled()
    if not missing:
        return
    gc.disable()
    try:
        for name in missing:
            importlib.import_module(name)
    finally:
        if collects:
            gc.enable()
    gc.freeze()
