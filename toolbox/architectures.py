"""Recognition of networks by spandrel, without importing architectures that are not used.

`import spandrel` imports more than forty architectures. Two of them need torchvision, whose import takes longer than
that of torch. A card names its architecture, so that one is enough.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import threading
import warnings
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_loading = threading.RLock()


class _DeferredPackage(ModuleType):
    """A package that is executed when one of its names is first accessed; importing a submodule does not do so."""

    _runs = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with _loading:
            if not self._runs and self.__spec__ and self.__spec__.loader:
                self._runs = True  # first, because its code accesses names of the package
                self.__spec__.loader.exec_module(self)
                self.__class__ = ModuleType  # type: ignore[assignment]
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def defer_spandrel() -> None:
    """Make submodules of spandrel importable without importing all of spandrel."""
    with _loading:
        spec = None if "spandrel" in sys.modules else importlib.util.find_spec("spandrel")
        if spec is not None:
            package = _DeferredPackage("spandrel")
            package.__spec__, package.__file__ = spec, spec.origin
            package.__path__ = list(spec.submodule_search_locations or ())
            package.__package__ = "spandrel"
            sys.modules["spandrel"] = package


def canonical(state: dict[str, Any]) -> Any:
    """The state dict without the wrapping dictionaries and prefixes of its publisher."""
    defer_spandrel()
    from spandrel.__helpers.canonicalize import canonicalize_state_dict

    return canonicalize_state_dict(state)


def network_of(state: Mapping[str, Tensor], architecture: str | None = None) -> Any:
    """spandrel's descriptor of the network with these weights, on the CPU.

    `architecture`: its likely name; if it is another, or unknown, all architectures are imported and tried. Raises
    spandrel's `UnsupportedModelError`, and any error of building the network.
    """
    defer_spandrel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from network code, and about files that are refused anyway
        named = _named(architecture) if architecture else None
        if named is not None and named.detect(state):
            return named.load(state)
        from spandrel import ModelLoader

        _add_extra_architectures()
        return ModelLoader().load_from_state_dict(dict(state))


@cache
def _named(architecture: str) -> Any:
    """One of spandrel's own architectures; None if it has none of that name."""
    module = f"spandrel.architectures.{architecture}"
    if not architecture.isidentifier() or importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), f"{architecture}Arch")()


@cache
def _add_extra_architectures() -> None:
    """Register the architectures under more restrictive licences, if the user has installed them."""
    with contextlib.suppress(ImportError):
        import spandrel_extra_arches

        spandrel_extra_arches.install(ignore_duplicates=True)
