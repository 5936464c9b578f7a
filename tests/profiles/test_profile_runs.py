"""Runs with each profile match its settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import pytest
import skimage.data

from agent.faces.step import FACES
from agent.reasoners.reasoner import CallerReasoner
from agent.run import restore_file
from agent.state import KEEP_INPUT, RunState
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from profiles.loading import load_profile
from tests.profiles.test_profiles import PUBLISHED, SR
from toolbox.card import ClassicalCard, ExpertCard
from toolbox.catalogue import Catalogue
from toolbox.expert import Expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Degradation, Severity, Task

SAME_SIZE = {Task.DENOISING, Task.MOTION_DEBLURRING, Task.DEFOCUS_DEBLURRING, Task.DEHAZING, Task.DERAINING}
SAME_SIZE |= {Task.JPEG_ARTIFACT_REMOVAL}

EVERYTHING = CallerReasoner(findings=dict.fromkeys(Degradation, Severity.HIGH))
"""A reasoner that reports every degradation."""

LARGE = 50
"""`fast_4k_side_threshold` for the small images of the tests."""


@dataclass(frozen=True)
class Plain:
    """An expert that returns its input, resized by its scale."""

    card: ExpertCard

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        height, width = image.height * self.card.scale, image.width * self.card.scale
        return image.with_pixels(resize(image.pixels, height, width))


class PlainPool(ExpertPool):
    """An expert of each preference for every task, and for super-resolution also a slow perceptual one."""

    def __init__(self) -> None:
        scales = [(task, scale) for task in Task for scale in ((2, 4) if task is Task.SUPER_RESOLUTION else (1,))]
        cards = [
            _card(task, scale, preference) for task, scale in scales for preference in ("fidelity", "perception")
        ]
        cards += [_card(Task.SUPER_RESOLUTION, scale, "perception", slow=True) for scale in (2, 4)]
        super().__init__(Catalogue(tuple(cards)))

    def get(self, name: str, token: ProgressToken | None = None) -> Expert:
        return Plain(self.catalogue.card(name))


def _card(task: Task, scale: int, preference: str, slow: bool = False) -> ExpertCard:
    table: dict[str, object] = {"task": task, "scale": scale, "preference": preference, "slow": slow}
    name = f"{task.value}_{scale}_{preference}{'_slow' if slow else ''}"
    about: dict[str, object] = {"loader": "classical", "function": "none:none", "about": "", "source": ""}
    return ClassicalCard.model_validate({"name": name, **table, **about})


def _run(name: str, folder: Path, **changes: object) -> RunState:
    """Run a profile on a photo of 16x12 pixels, with a sixteenth of the 4K size, so that the run is fast."""
    PIL.Image.fromarray(skimage.data.astronaut()[60:72, 210:226]).save(folder / "small.png")
    profile = load_profile(name).model_copy(
        update={"long_side": 256, "fast_4k_side_threshold": LARGE, "max_seconds": None, **changes}
    )
    run = restore_file(
        folder / "small.png", folder / "out.png", profile, runs=folder, experts=PlainPool(), reasoner=EVERYTHING
    )
    return run.state


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_run_with_a_published_profile_matches_its_settings(name: str, tmp_path: Path) -> None:
    _, to_4k, scale, tasks, faces, brightening, preference = PUBLISHED[name]
    done = _run(name, tmp_path)
    assert done.plan is not None
    planned = [step.task for step in done.plan.steps]
    wanted = set(SR) | (set() if tasks else SAME_SIZE)
    wanted |= {Task.BRIGHTENING} if brightening else set()
    wanted |= {Task.FACE_RESTORATION} if faces else set()
    wanted |= {Task.OLD_PHOTO_RESTORATION} if name == "OldP4K-P" else set()
    assert set(planned) == wanted
    assert done.nodes[done.current].remaining_steps == ()
    with PIL.Image.open(tmp_path / "out.png") as result:
        assert result.size == ((256, 192) if to_4k else (16 * (scale or 1), 12 * (scale or 1)))
    enlarged = math.prod(step.scale for step in done.plan.steps)
    assert enlarged == (scale or 16)
    ran = {verdict.expert for node in done.nodes for verdict in node.verdicts} - {KEEP_INPUT, FACES}
    assert ran
    assert all(f"_{preference}" in expert for expert in ran)


@pytest.mark.parametrize(("name", "slow_at"), [("FastGen4K-P", {16}), ("Gen4K-P", {16, 64})])
def test_the_fast_profile_excludes_slow_experts_for_large_images(
    name: str, slow_at: set[int], tmp_path: Path
) -> None:
    done = _run(name, tmp_path, restore_option=SR)
    slow = {
        done.nodes[node.parent or 0].width
        for node in done.nodes
        if any(verdict.expert.endswith("slow") for verdict in node.verdicts)
    }
    assert slow == slow_at


OWN = {
    # name: scale of a small photo, faces, brightening
    "default": (16, True, True),
    "document": (4, False, True),
    "anime": (16, False, False),
    "medical-safe": (1, False, False),
    "aerial": (16, False, True),
    "interactive": (4, True, True),
}


@pytest.mark.parametrize("name", OWN)
def test_a_run_with_one_of_our_profiles_matches_its_settings(name: str, tmp_path: Path) -> None:
    scale, faces, brightening = OWN[name]
    done = _run(name, tmp_path)
    assert done.plan is not None
    planned = {step.task for step in done.plan.steps}
    left = {Task.DEHAZING} if name == "medical-safe" else set[Task]()
    assert planned - set(SR) - {Task.FACE_RESTORATION, Task.BRIGHTENING} == SAME_SIZE - left
    assert (Task.FACE_RESTORATION in planned, Task.BRIGHTENING in planned) == (faces, brightening)
    assert math.prod(step.scale for step in done.plan.steps) == scale
    ran = {verdict.expert for node in done.nodes for verdict in node.verdicts} - {KEEP_INPUT, FACES}
    assert all("_fidelity" in expert for expert in ran)  # of those for perception, only networks are blended
