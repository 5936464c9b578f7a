"""What a reasoner is asked in a run, and what comes of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.events import Event, StepStarted
from agent.judging import Candidate
from agent.reasoners.reasoner import Ordering, RuleReasoner
from agent.run import Restoration, resume_run
from agent.state import Perception, Step
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from tests.agent.scripted import ScriptedPool, expert, profile, ruin, run, truth
from toolbox.tasks import Task


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


def run_of(
    source: Path, reasoner: RuleReasoner | None, pool: ScriptedPool, *tasks: Task, **keys: object
) -> Restoration:
    """A run without enlargement; `keys`: of the profile, and `token` and `listener`."""
    wishes = {"scale_factor": None, "upscale_4k": False, "require_sr_size": 0, "restore_option": tasks}
    more = {name: keys.pop(name) for name in ("token", "listener") if name in keys}
    return run(source, profile(**wishes, **keys), pool, reasoner=reasoner, overwrite=True, **more)


ONE, OTHER = (expert(name, Task.DENOISING, truth) for name in ("one", "other"))
WORSE = expert("worse", Task.DENOISING, ruin)


def test_between_scores_that_are_a_tie_the_reasoner_chooses(noisy_file: Path) -> None:
    for keeps in ("one", "other"):
        reasoner = Listening(keeps=keeps)
        restoration = run_of(noisy_file, reasoner, ScriptedPool(ONE, OTHER, WORSE), Task.DENOISING)
        assert restoration.path_taken()[1].expert == keeps
        assert reasoner.judged == [["one", "other"]]


def test_only_tied_candidates_can_be_chosen(noisy_file: Path) -> None:
    restoration = run_of(noisy_file, Listening(keeps="worse"), ScriptedPool(ONE, OTHER, WORSE), Task.DENOISING)
    assert restoration.path_taken()[1].expert in ("one", "other")


def test_a_clear_winner_is_not_put_to_the_vote(noisy_file: Path) -> None:
    reasoner = Listening(keeps="worse")
    pool = ScriptedPool(ONE, WORSE)
    assert run_of(noisy_file, reasoner, pool, Task.DENOISING).path_taken()[1].expert == "one"
    assert reasoner.judged == []


def test_replanning_gets_the_failed_steps_with_reasons(noisy_file: Path) -> None:
    reasoner = Listening()
    pool = ScriptedPool(expert("bad", Task.DENOISING, ruin), expert("good", Task.BRIGHTENING, truth))
    run_of(noisy_file, reasoner, pool, Task.DENOISING, Task.BRIGHTENING, rollback_below=1.0)
    first, second = reasoner.failures[:2]
    assert first == {}
    assert list(second) == [Task.DENOISING]
    assert "the best expert, bad, scored" in second[Task.DENOISING]
    assert "the untouched image" in second[Task.DENOISING]


def test_a_run_with_an_unconfigured_model_succeeds_and_says_what_to_set(
    noisy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESTORE4K_LLM_URL", raising=False)
    pool = ScriptedPool(ONE)
    restoration = run_of(noisy_file, None, pool, Task.DENOISING, perception_agent="endpoint")
    assert read_image(restoration.output).width == 128
    assert restoration.state.reasoner == "rules"
    assert len([warning for warning in restoration.state.warnings if "RESTORE4K_LLM_URL" in warning]) == 1


def test_a_resumed_run_does_not_warn_again(noisy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESTORE4K_LLM_URL", raising=False)
    pool, token = ScriptedPool(ONE), ProgressToken()

    def stop(event: Event) -> None:
        if isinstance(event, StepStarted):
            token.cancel()

    with pytest.raises(Cancelled):
        run_of(noisy_file, None, pool, Task.DENOISING, listener=stop, token=token, perception_agent="endpoint")
    (folder,) = (noisy_file.parent / "runs").iterdir()
    warnings = resume_run(folder, experts=pool).state.warnings
    assert len([warning for warning in warnings if "RESTORE4K_LLM_URL" in warning]) == 1
