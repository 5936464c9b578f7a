"""Experts that do what a test says, and runs with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from pydantic import TypeAdapter

from agent.events import Event
from agent.run import Restoration, restore_file
from agent.state import Step
from agent.step_context import StepContext
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from iqa.features import extract_features
from profiles.schema import Profile
from toolbox.card import ClassicalCard, ExpertCard, SpandrelCard
from toolbox.catalogue import Catalogue
from toolbox.expert import Expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.degradations import gaussian_noise

CLEAN = to_float(skimage.data.astronaut()[20:148, 150:278])
NOISY = np.clip(gaussian_noise(CLEAN, np.random.default_rng(0), 35), 0, 1)


@dataclass(frozen=True)
class ScriptedExpert:
    """An expert that does what a test says."""

    card: ExpertCard
    function: Callable[[Image], Image]

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        token.check()
        return self.function(image)


class ScriptedPool(ExpertPool):
    """A toolbox of scripted experts."""

    def __init__(self, *experts: ScriptedExpert) -> None:
        super().__init__(Catalogue(tuple(expert.card for expert in experts)))
        self._scripted = {expert.card.name: expert for expert in experts}
        self.calls: list[str] = []

    def get(self, name: str, token: ProgressToken | None = None) -> Expert:
        self.calls.append(name)
        return self._scripted[name]


def expert(
    name: str, task: Task, function: Callable[[Image], Image], scale: int = 1, preference: str = "any"
) -> ScriptedExpert:
    """A classical expert; a network where it prefers perception."""
    common = {"name": name, "task": task, "scale": scale, "preference": preference, "about": "", "source": ""}
    card: ExpertCard
    if preference == "perception":
        card = SpandrelCard.model_validate({**common, "loader": "spandrel", "weights": "none.safetensors"})
    else:
        card = ClassicalCard.model_validate({**common, "loader": "classical", "function": "none:none"})
    return ScriptedExpert(card, function)


def truth(image: Image) -> Image:
    """What an ideal denoiser gives."""
    return image.with_pixels(from_numpy(CLEAN))


def ruin(image: Image) -> Image:
    return image.with_pixels(1 - image.pixels.flip(-1))


def crash(image: Image) -> Image:
    raise RuntimeError("out of luck")


def enlarge(scale: int) -> Callable[[Image], Image]:
    return lambda image: image.with_pixels(resize(image.pixels, image.height * scale, image.width * scale))


PLAIN_2X = expert("plain_2x", Task.SUPER_RESOLUTION, enlarge(2), 2)


def profile(**keys: object) -> Profile:
    return Profile.model_validate({"name": "test", "scale_factor": 2, "restore_option": "denoising", **keys})


def step_context(image: Image, step: Step, wanted: Profile, pool: ExpertPool, **more: Any) -> StepContext:
    return StepContext(image, step, wanted, pool, extract_features(image), **more)


def run(source: Path, wanted: Profile, pool: ExpertPool, **keys: object) -> Restoration:
    folder = source.parent
    return restore_file(source, folder / "out.png", wanted, runs=folder / "runs", experts=pool, **keys)  # type: ignore[arg-type]


def trace(folder: Path) -> list[Event]:
    """The events that a run has recorded."""
    lines = (folder / "trace.jsonl").read_text("utf-8").splitlines()
    return [TypeAdapter[Event](Event).validate_json(line) for line in lines]


def winners(restoration: Restoration) -> list[str | None]:
    return [node.expert for node in restoration.path_taken()[1:]]
