"""A run as it lies on disk when it is finished, with hostile strings wherever a stranger can put one."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from skimage import data

from agent.state import KEEP_INPUT, Finding, Node, Perception, Plan, RunState, Step, Verdict
from imaging.convert import from_numpy
from imaging.image import Image
from imaging.writing import write_image
from profiles.schema import Profile
from tests.agent.scripted import NOISY
from toolbox.tasks import Degradation, Severity, Task

HOSTILE = '"><script>alert(1)</script>.png'
HOSTILE_ERROR = "</pre></script><img src=x onerror=alert(2)> {size} $title & 'quoted'"
DENOISE, DEHAZE = Step(task=Task.DENOISING), Step(task=Task.DEHAZING)
DEJPEG, ENLARGE = Step(task=Task.JPEG_ARTIFACT_REMOVAL), Step(task=Task.SUPER_RESOLUTION, scale=4)


def verdict(expert: str, score: float, **more: Any) -> Verdict:
    parts = {"quality": score - 0.05, "consistency": min(score + 0.2, 1), "seconds": 1.25}
    return Verdict(expert=expert, score=score, metrics={"niqe": 4.321}, **{**parts, **more})


@pytest.fixture
def finished_run() -> RunState:
    """A run of three steps. Dehazing is tried first and rolled back; then JPEG removal, denoising and 4x."""
    remaining_steps = (DEHAZE, DEJPEG, DENOISE, ENLARGE)
    nodes = (
        Node(id=0, width=256, height=192, remaining_steps=remaining_steps, score=0.41, failed_first_steps=(DEHAZE,)),
        Node(
            id=1,
            parent=0,
            step=DEHAZE,
            expert=KEEP_INPUT,
            width=256,
            height=192,
            score=0.5,
            failed=True,
            remaining_steps=remaining_steps[1:],
            verdicts=(verdict(KEEP_INPUT, 0.5), verdict("dark_channel", 0.44), verdict("clahe_haze", 0.31)),
        ),
        Node(
            id=2,
            parent=0,
            step=DEJPEG,
            expert="deblock_tv",
            width=256,
            height=192,
            score=0.612,
            remaining_steps=remaining_steps[2:],
            verdicts=(verdict(KEEP_INPUT, 0.55), verdict("deblock_tv", 0.612), verdict("shape_adaptive", 0.58)),
        ),
        Node(
            id=3,
            parent=2,
            step=DENOISE,
            expert="nlmeans",
            width=256,
            height=192,
            score=0.742,
            remaining_steps=remaining_steps[3:],
            verdicts=(
                verdict(KEEP_INPUT, 0.6),
                verdict("nlmeans", 0.81, stage="prescreen"),
                verdict("wavelet", 0.777, stage="prescreen", consistency=-0.25),
                verdict("broken", 0.0, error=HOSTILE_ERROR),
                verdict("nlmeans", 0.742),
            ),
        ),
        Node(
            id=4,
            parent=3,
            step=ENLARGE,
            expert="lanczos",
            width=1024,
            height=768,
            score=0.7,
            remaining_steps=(),
            verdicts=(verdict("lanczos", 0.7), verdict("bicubic_backprojection", 0.695)),
        ),
    )
    findings = {
        Degradation.NOISE: Finding(severity=Severity.HIGH, confidence=0.91, measurements={"noise_sigma_255": 14.25}),
        Degradation.JPEG_ARTIFACT: Finding(
            severity=Severity.MEDIUM, confidence=0.7, measurements={"block_grid": 1.61}
        ),
        Degradation.HAZE: Finding(severity=Severity.MEDIUM, confidence=0.4, measurements={"dark_channel": 0.31}),
        Degradation.RAIN: Finding(severity=Severity.VERY_LOW, confidence=0.8),
    }
    return RunState(
        id="20260101-120000-abc123",
        source="/photos/" + HOSTILE.replace("/", "∕"),
        output="/photos/out.png",
        overwrite=False,
        profile=Profile(name="default"),
        reasoner="rules",
        perception=Perception(
            width=256,
            height=192,
            quality=0.41,
            metrics={"niqe": 7.25},
            findings=findings,
            description=f"A noisy photo {HOSTILE}",
            by="rules",
        ),
        plan=Plan(
            steps=remaining_steps,
            final_width=1024,
            final_height=768,
            reasons=("dehazing before denoising: noise would be amplified", "enlarging last"),
            by="rules",
        ),
        nodes=nodes,
        current=4,
        expert_runs=9,
        seconds={"experts": 12.5, "scoring": 6.0, "reading": 0.02, "writing": 0.9, "agent": 0.1},
        warnings=("the profile asks for hpsv2, which is not here",),
        finished=True,
    )


@pytest.fixture
def run_folder(tmp_path: Path, finished_run: RunState) -> Path:
    """Its folder with the pictures that a run leaves: a real photo, lighter from candidate to candidate."""
    photo = Pillow.fromarray(data.astronaut()).crop((60, 0, 412, 264))
    small = photo.resize((320, 240))
    (tmp_path / "thumbnails").mkdir()
    for node in finished_run.nodes:
        small.point(lambda value, node=node: min(255, value + 8 * node.id)).save(
            tmp_path / f"thumbnails/{node.id}.jpg"
        )
        for number, one in enumerate(node.verdicts):
            if one.stage == "full" and one.error is None:
                shade = small.point(lambda value, number=number: min(255, value + 20 * number))
                shade.save(tmp_path / f"thumbnails/{node.id}-{one.expert}.jpg")
    photo.resize((80, 60)).resize((1400, 1050), Pillow.Resampling.NEAREST).save(tmp_path / "before.jpg", quality=88)
    photo.resize((1400, 1050)).save(tmp_path / "after.jpg", quality=88)
    return tmp_path


@pytest.fixture
def noisy_file(tmp_path: Path) -> Path:
    path = tmp_path / "noisy.png"
    write_image(Image(from_numpy(NOISY)), path)
    return path
