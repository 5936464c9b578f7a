"""An expert at work: the one interface of classical functions and networks, and how a card becomes one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from imaging.control import Control
from imaging.convert import FloatArray, from_numpy, to_numpy
from imaging.errors import Cancelled, ResourceError
from imaging.image import Image
from toolbox.card import ExpertCard
from toolbox.errors import BadCard, ExpertError, WeightsError
from toolbox.store import ModelStore

ClassicalFunction = Callable[[FloatArray, Control], FloatArray]


class Expert(Protocol):
    """Something that restores an image. Use `run_expert`, which holds it to its promises."""

    @property
    def card(self) -> ExpertCard:
        """What it promises."""
        ...

    def __call__(self, image: Image, control: Control) -> Image:
        """The restored image, `card.scale` times as large."""
        ...


@dataclass(frozen=True, slots=True)
class ClassicalExpert:
    """An expert that is a function on arrays."""

    card: ExpertCard
    function: ClassicalFunction

    def __call__(self, image: Image, control: Control) -> Image:
        """Run the function on the image's pixels."""
        control.report(0.0)
        return image.with_pixels(from_numpy(self.function(to_numpy(image.pixels), control)))


@dataclass(frozen=True, slots=True)
class FinishingExpert:
    """A network that finishes what a classical function begins."""

    card: ExpertCard
    first: ClassicalExpert
    network: Expert

    @property
    def weight_bytes(self) -> int:
        """Of the network, for the pool."""
        return int(getattr(self.network, "weight_bytes", 0))

    def __call__(self, image: Image, control: Control) -> Image:
        """Run one after the other."""
        return self.network(self.first(image, control.part(0.0, 0.5)), control.part(0.5, 1.0))


def load_expert(card: ExpertCard, store: ModelStore | None = None) -> Expert:
    """The expert of a card, ready to run; heavy libraries are imported here, not before.

    `store`: where downloaded weights lie; otherwise the user's models folder. Raises `WeightsError`, `BadCard`.
    """
    if card.loader == "none":
        raise WeightsError(f"expert {card.name} cannot run here: {card.why}", f"instead: {', '.join(card.instead)}")
    if card.loader == "spandrel":
        from toolbox.network import load_network

        network = load_network(card, store or ModelStore())
        if card.begins_with is None:
            return network
        return FinishingExpert(card, ClassicalExpert(card, _function(card, card.begins_with)), network)
    if card.loader == "onnx":
        from toolbox.graph import load_graph

        return load_graph(card, store or ModelStore())
    if card.loader == "diffusion":
        from toolbox.diffusion import load_diffusion

        return load_diffusion(card, store or ModelStore())
    return ClassicalExpert(card, _function(card, card.function or ""))


def run_expert(expert: Expert, image: Image, control: Control) -> Image:
    """Run an expert and check what it promised: finite pixels, exactly `scale` times the size.

    Raises `ExpertError` whatever went wrong inside it, so that one bad expert is an event and not the end of a
    run; `Cancelled` and `ResourceError` pass.
    """
    card = expert.card
    try:
        result = expert(image, control)
    except (Cancelled, ResourceError):
        raise
    except Exception as error:
        raise ExpertError(f"expert {card.name} failed on {image.width}x{image.height}: {error}") from error
    if (result.width, result.height) != (image.width * card.scale, image.height * card.scale):
        raise ExpertError(
            f"expert {card.name} made {result.width}x{result.height} of {image.width}x{image.height}, "
            f"which is not {card.scale} times as large"
        )
    if not bool(result.pixels.isfinite().all()):
        raise ExpertError(f"expert {card.name} made pixels that are not numbers")
    return result


def _function(card: ExpertCard, name: str) -> ClassicalFunction:
    module, _, attribute = name.partition(":")
    try:
        return cast(ClassicalFunction, getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError, ValueError) as error:
        raise BadCard(f"card {card.name!r} names the function {name!r}, which is not there") from error
