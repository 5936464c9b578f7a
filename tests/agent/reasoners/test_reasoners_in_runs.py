"""What a reasoner is asked in a run, and what comes of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from agent.events import Event, Listener, StepStarted
from agent.judging import Candidate
from agent.reasoners.reasoner import Ordering, RuleReasoner
from agent.run import Restoration, restore_file, resume_run
from agent.state import Perception, Step
from imaging.convert import from_numpy, to_float
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import write_image
from profiles.schema import Profile
from toolbox.card import ClassicalCard, ExpertCard
from toolbox.catalogue import Catalogue
from toolbox.expert import Expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

CLEAN = to_float(skimage.data.astronaut()[20:148, 150:278])
NOISY = np.clip(CLEAN + np.random.default_rng(0).normal(0, 35 / 255, CLEAN.shape), 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Scripted:
    """An expert that does what a test says."""

    card: ExpertCard
    function: Callable[[Image], Image]

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        return self.function(image)


class Pool(ExpertPool):
    """A toolbox of scripted experts, by name: task and function."""

    def __init__(self, **experts: tuple[Task, Callable[[Image], Image]]) -> None:
        facts = {"scale": 1, "loader": "classical", "function": "none:none", "about": "", "source": ""}
        cards = [
            ClassicalCard.model_validate({"name": name, "task": task, **facts}) for name, (task, _) in experts.items()
        ]
        super().__init__(Catalogue(tuple(cards)))
        self._scripted = {card.name: Scripted(card, experts[card.name][1]) for card in cards}

    def get(self, name: str) -> Expert:
        return self._scripted[name]


def truth(image: Image) -> Image:
    return image.with_pixels(from_numpy(CLEAN))


def ruin(image: Image) -> Image:
    return image.with_pixels(1 - image.pixels.flip(-1))


@dataclass(frozen=True, slots=True)
class Listening(RuleReasoner):
    """The rules, which remember what they are asked, and keep the expert that a test says."""

    keeps: str | None = None
    judged: list[list[str]] = field(default_factory=list)
    failures: list[dict[Task, str]] = field(default_factory=list)

    def order(self, tasks: Sequence[Task], perception: Perception, failed: Mapping[Task, str]) -> Ordering:
        self.failures.append(dict(failed))
        return RuleReasoner.order(self, tasks, perception, failed)

    def judge(self, step: Step, before: Image, candidates: Sequence[Candidate], perception: Perception) -> str | None:
        self.judged.append([candidate.verdict.expert for candidate in candidates])
        return self.keeps


def run(
    folder: Path,
    reasoner: RuleReasoner | None,
    pool: Pool,
    *tasks: Task,
    listener: Listener | None = None,
    token: ProgressToken | None = None,
    **keys: object,
) -> Restoration:
    write_image(Image(from_numpy(NOISY)), folder / "noisy.png", overwrite=True)
    wishes = {"upscale_4k": False, "require_sr_size": 0, "restore_option": tasks, **keys}
    profile = Profile.model_validate({"name": "test", **wishes})
    return restore_file(
        folder / "noisy.png",
        folder / "out.png",
        profile,
        runs=folder / "runs",
        experts=pool,
        reasoner=reasoner,
        overwrite=True,
        listener=listener,
        token=token,
    )


TWINS = {"one": (Task.DENOISING, truth), "other": (Task.DENOISING, truth), "worse": (Task.DENOISING, ruin)}


def test_between_scores_that_are_a_tie_the_reasoner_chooses(tmp_path: Path) -> None:
    for keeps in ("one", "other"):
        reasoner = Listening(keeps=keeps)
        restoration = run(tmp_path, reasoner, Pool(**TWINS), Task.DENOISING)
        assert restoration.path_taken()[1].expert == keeps
        assert reasoner.judged == [["one", "other"]]


def test_what_is_not_in_the_tie_cannot_be_chosen(tmp_path: Path) -> None:
    restoration = run(tmp_path, Listening(keeps="worse"), Pool(**TWINS), Task.DENOISING)
    assert restoration.path_taken()[1].expert in ("one", "other")


def test_a_clear_winner_is_not_put_to_the_vote(tmp_path: Path) -> None:
    reasoner = Listening(keeps="worse")
    pool = Pool(one=TWINS["one"], worse=TWINS["worse"])
    assert run(tmp_path, reasoner, pool, Task.DENOISING).path_taken()[1].expert == "one"
    assert reasoner.judged == []


def test_who_replans_is_told_what_failed_and_why(tmp_path: Path) -> None:
    reasoner = Listening()
    pool = Pool(bad=(Task.DENOISING, ruin), good=(Task.BRIGHTENING, truth))
    run(tmp_path, reasoner, pool, Task.DENOISING, Task.BRIGHTENING, rollback_below=1.0)
    first, second = reasoner.failures[:2]
    assert first == {}
    assert list(second) == [Task.DENOISING]
    assert "the best expert, bad, scored" in second[Task.DENOISING]
    assert "the untouched image" in second[Task.DENOISING]


def test_a_profile_that_asks_for_a_missing_model_ends_with_a_picture_and_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESTORE4K_LLM_URL", raising=False)
    pool = Pool(one=TWINS["one"])
    restoration = run(tmp_path, None, pool, Task.DENOISING, perception_agent="endpoint")
    assert read_image(restoration.output).width == 128
    assert restoration.state.reasoner == "rules"
    assert len([warning for warning in restoration.state.warnings if "RESTORE4K_LLM_URL" in warning]) == 1


def test_a_resumed_run_does_not_warn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESTORE4K_LLM_URL", raising=False)
    pool, token = Pool(one=TWINS["one"]), ProgressToken()

    def stop(event: Event) -> None:
        if isinstance(event, StepStarted):
            token.cancel()

    with pytest.raises(Cancelled):
        run(tmp_path, None, pool, Task.DENOISING, listener=stop, token=token, perception_agent="endpoint")
    (folder,) = (tmp_path / "runs").iterdir()
    warnings = resume_run(folder, experts=pool).state.warnings
    assert len([warning for warning in warnings if "RESTORE4K_LLM_URL" in warning]) == 1
