"""Imports of large libraries, which stay until the process ends."""

from __future__ import annotations

import gc
import importlib
import sys


def import_lasting(*names: str) -> None:
    """Import modules without collecting garbage meanwhile, and exempt what they hold from later collections.

    There is nothing to collect in a module that lasts. Its many objects would be traversed during the import, during
    the work and at the end of the process: together a fifth of the time of importing torch.
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
