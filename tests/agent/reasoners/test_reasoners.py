"""Models of every temper as reasoners: a good answer counts, anything else leaves the rules in charge."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data

from agent.errors import ModelError
from agent.judging import Candidate
from agent.reasoners.model_reasoner import ModelReasoner, Question, Reply
from agent.reasoners.reasoner import RULES, CallerReasoner
from agent.state import Finding, ModelCall, Perception, Step, Verdict
from imaging.convert import from_numpy, to_float
from imaging.errors import Cancelled
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.tasks import Degradation, Severity, Task

REPLIES = sorted((Path(__file__).parent / "replies").glob("*.json"))
PHOTO = Image(from_numpy(to_float(skimage.data.astronaut()[:96, 150:278])))
TASKS = (Task.DENOISING, Task.JPEG_ARTIFACT_REMOVAL, Task.BRIGHTENING)
MEASURED = Perception(
    width=128,
    height=96,
    quality=0.4,
    metrics={"niqe": 6.1},
    findings={
        Degradation.NOISE: Finding(severity=Severity.MEDIUM, confidence=0.9, measurements={"sigma_255": 12.0}),
        Degradation.RAIN: Finding(severity=Severity.HIGH, confidence=0.55),
        Degradation.DARK: Finding(severity=Severity.VERY_LOW, confidence=0.8),
    },
    description="",
    by="measurement",
)
CANDIDATES = tuple(
    Candidate(Verdict(expert=name, score=score, consistency=0.9), PHOTO)
    for name, score in (("first", 0.61), ("second", 0.605))
)
STEP = Step(task=Task.DENOISING)


@dataclass
class Scripted:
    """A model that replies as a test says, the last reply again and again."""

    replies: list[str | Exception]
    model: str = "scripted"
    questions: list[Question] = field(default_factory=list)

    def ask(self, question: Question, token: ProgressToken) -> Reply:
        token.check()
        self.questions.append(question)
        reply = self.replies[min(len(self.questions), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return Reply(reply, 1000, 50, 0.002)


@dataclass
class Notebook:
    """A call log that keeps calls and warnings."""

    calls: list[ModelCall] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def record_call(self, call: ModelCall) -> None:
        self.calls.append(call)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def model(*replies: str | Exception) -> tuple[Any, Scripted, Notebook]:
    """A reasoner with these replies, the model that gives them, and what it notes."""
    chat, log = Scripted(list(replies)), Notebook()
    return ModelReasoner("endpoint", chat).bind(log, ProgressToken()), chat, log


def recorded(file: Path) -> tuple[str, str, Any]:
    """Question, reply, and the answer that it is; null: the rules'."""
    case = json.loads(file.read_text("utf-8"))
    reply = case["reply"]
    if isinstance(reply, dict):
        reply = reply["start"] + reply["repeat"] * reply["times"] + reply["end"]
    return case["question"], reply, case["answer"]


def of(question: str) -> list[Any]:
    return [pytest.param(file, id=file.stem) for file in REPLIES if recorded(file)[0] == question]


def reply_of(name: str) -> str:
    return recorded(Path(__file__).parent / "replies" / f"{name}.json")[1]


@pytest.mark.parametrize("file", of("perceive"))
def test_a_reply_to_perceive_is_a_valid_answer_or_the_rules_look(file: Path) -> None:
    _, reply, answer = recorded(file)
    reasoner, chat, log = model(reply)
    perception = reasoner.perceive(PHOTO, MEASURED)
    if answer is None:
        assert perception == RULES.perceive(PHOTO, MEASURED)
        assert len(chat.questions) == len(log.calls) == 2
        assert len(log.warnings) == 1
        assert "the rules decide" in log.warnings[0]
    else:
        present = {str(name): perception.findings[name].severity.words for name in perception.present()}
        assert present == answer
        assert perception.by == "endpoint (scripted)"
        assert perception.description.isprintable()
        assert log.warnings == []
    assert Perception.model_validate_json(perception.model_dump_json()) == perception
    assert all(len(call.model_dump_json()) < 20_000 for call in log.calls)


@pytest.mark.parametrize("file", of("order"))
def test_a_reply_to_order_is_a_valid_answer_or_the_rules_order(file: Path) -> None:
    _, reply, answer = recorded(file)
    reasoner, _, log = model(reply)
    ordering = reasoner.order(TASKS, MEASURED, {})
    assert list(ordering.tasks) == (answer or list(RULES.order(TASKS, MEASURED, {}).tasks))
    assert ordering.by == ("endpoint (scripted)" if answer else "rules")
    assert bool(log.warnings) == (answer is None)


@pytest.mark.parametrize("file", of("judge"))
def test_a_reply_to_judge_is_a_candidate_or_the_scores_decide(file: Path) -> None:
    _, reply, answer = recorded(file)
    reasoner, chat, _ = model(reply)
    assert reasoner.judge(STEP, PHOTO, CANDIDATES, MEASURED) == answer
    assert chat.questions[0].pictures[0].startswith(b"\x89PNG")


def test_a_second_good_answer_counts_and_the_model_is_told_what_was_wrong_with_the_first() -> None:
    reasoner, chat, log = model(reply_of("unknown_severity"), reply_of("good"))
    assert reasoner.perceive(PHOTO, MEASURED).by == "endpoint (scripted)"
    assert log.warnings == []
    assert [call.problem is None for call in log.calls] == [False, True]
    assert "degradations.0.severity" in chat.questions[1].text
    assert chat.questions[1].text.endswith(chat.questions[0].text)


def test_after_its_first_failure_a_model_is_asked_nothing_more_in_this_run_but_in_the_next() -> None:
    reasoner, chat, log = model(ModelError("nobody is there"))
    assert reasoner.perceive(PHOTO, MEASURED).by == "rules"
    assert reasoner.order(TASKS, MEASURED, {}).by == "rules"
    assert reasoner.judge(STEP, PHOTO, CANDIDATES, MEASURED) is None
    assert len(chat.questions) == len(log.warnings) == 1
    reasoner.bind(log, ProgressToken()).perceive(PHOTO, MEASURED)
    assert len(chat.questions) == 2


def test_the_cost_of_a_call_is_recorded() -> None:
    reasoner, _, log = model(reply_of("good"))
    reasoner.perceive(PHOTO, MEASURED)
    call = log.calls[0]
    assert (call.purpose, call.model, call.prompt_tokens, call.completion_tokens) == (
        "perceive",
        "scripted",
        1000,
        50,
    )
    assert call.cost == 0.002
    assert call.reply == reply_of("good")


def test_the_model_gets_the_picture_the_measurements_and_the_words_it_may_use() -> None:
    reasoner, chat, _ = model(reply_of("good"))
    large = Image(PHOTO.pixels.repeat(1, 10, 10))
    reasoner.perceive(large, MEASURED)
    question = chat.questions[0]
    assert len(question.pictures) == 2
    assert sum(map(len, question.pictures)) < 1_100_000
    assert '"sigma_255": 12.0' in question.text
    assert all(name.value in question.text for name in Degradation)
    assert "$" not in question.text + question.system


def test_text_in_values_is_no_placeholder_and_no_second_prompt() -> None:
    reasoner, chat, _ = model(reply_of("order_good"))
    reasoner.order(TASKS, MEASURED, {Task.DENOISING: "it said $rules and {tasks}"})
    assert "it said $rules and {tasks}" in chat.questions[0].text


def test_degradations_that_a_model_does_not_name_keep_their_measurements_and_get_no_task() -> None:
    reasoner, _, _ = model(reply_of("good"))
    findings = reasoner.perceive(PHOTO, MEASURED).findings
    assert findings[Degradation.RAIN].severity is Severity.LOW
    assert findings[Degradation.NOISE].measurements == {"sigma_255": 12.0}
    assert findings[Degradation.NOISE].confidence == 0.9
    assert findings[Degradation.DARK].confidence >= 0.6


def test_super_resolution_keeps_its_place_whatever_a_model_wants() -> None:
    reasoner, chat, _ = model(reply_of("order_good"))
    ordering = reasoner.order((Task.SUPER_RESOLUTION, *TASKS, Task.FACE_RESTORATION), MEASURED, {})
    assert ordering.tasks[-2:] == (Task.SUPER_RESOLUTION, Task.FACE_RESTORATION)
    assert ordering.tasks[0] is Task.BRIGHTENING
    assert "super_resolution" not in chat.questions[0].text.partition("According to earlier trials")[0]


@pytest.mark.parametrize("tasks", [(), (Task.DENOISING,), (Task.DENOISING, Task.SUPER_RESOLUTION)])
def test_the_model_is_not_asked_about_a_single_order(tasks: tuple[Task, ...]) -> None:
    reasoner, chat, _ = model(ModelError("must not be asked"))
    assert reasoner.order(tasks, MEASURED, {}).tasks == tasks
    assert chat.questions == []


def test_replanning_names_failed_steps_with_reasons_and_begins_with_another() -> None:
    reasoner, chat, _ = model(reply_of("order_good"))
    why = "the best expert scored 0.31, the untouched image 0.40"
    ordering = reasoner.order(TASKS, MEASURED, {Task.BRIGHTENING: why})
    assert why in chat.questions[0].text
    assert "must not begin with brightening" in chat.questions[1].text
    assert ordering == RULES.order(TASKS, MEASURED, {Task.BRIGHTENING: why})


def test_a_cancelled_question_is_not_answered_by_the_rules() -> None:
    token = ProgressToken()
    token.cancel()
    reasoner = ModelReasoner("endpoint", Scripted([reply_of("good")])).bind(Notebook(), token)
    with pytest.raises(Cancelled):
        reasoner.perceive(PHOTO, MEASURED)


def test_the_caller_s_findings_are_used() -> None:
    caller = CallerReasoner(findings={Degradation.HAZE: Severity.HIGH}, description="A\nfoggy\x00 harbour.")
    perception = caller.perceive(PHOTO, MEASURED)
    assert perception.present() == (Degradation.HAZE,)
    assert (perception.by, perception.description) == ("caller", "A foggy harbour.")


def test_a_picture_of_pure_noise_is_sent_within_the_size_limit() -> None:
    """A picture of pure noise is the largest that a model can be sent."""
    noise = np.random.default_rng(0).random((900, 1000, 3), np.float32)
    reasoner, chat, _ = model(reply_of("good"))
    reasoner.perceive(Image(from_numpy(noise)), MEASURED)
    assert all(len(picture) <= 512 * 1024 for picture in chat.questions[0].pictures)
