"""The loop of a run: perceive, plan, take one step after another, roll back where one hurts, finish."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent import planning
from agent.events import CandidateJudged, Finished, StepFinished, StepStarted
from agent.face_step import run_face_step
from agent.finishing import finish
from agent.journal import Journal
from agent.judging import Candidate, Contest
from agent.perceiving import perceive
from agent.qmoe import GLOBAL_TASKS, absentees, candidates, favourites, run_candidates
from agent.reasoner import Reasoner
from agent.rollback import LATE, left_of, reflect, settle
from agent.state import KEEP_INPUT, Node, Step, Verdict
from imaging.errors import Cancelled
from imaging.writing import write_image
from iqa.degradations import estimates_from
from iqa.quality import rollback_threshold
from toolbox.card import ExpertCard
from toolbox.pool import ExpertPool
from toolbox.tasks import Severity, Task

LASTING = GLOBAL_TASKS | {Task.SUPER_RESOLUTION, Task.FACE_RESTORATION}
"""What no other task's expert does by the way."""
FINISHING_SHARE = 0.08
"""The share of the progress bar that finishing and writing take."""


class _TimeIsUp(Cancelled):
    """In the middle of an expert's work, where there is something to go on with."""


def run_loop(journal: Journal, experts: ExpertPool, reasoner: Reasoner) -> None:
    """Bring the run from wherever its journal stands to its written result."""
    if journal.state.perception is None:
        _perceive(journal, reasoner)
    if journal.state.plan is None:
        _plan(journal, experts, reasoner)
    while _goes_on(journal):
        _take_step(journal, experts, reasoner)
    _finish(journal)


def _perceive(journal: Journal, reasoner: Reasoner) -> None:
    journal.progress(0.0, "looking at the image")
    with journal.clock.part("perception"):
        perception = perceive(journal.image, reasoner, journal.seen)
    journal.perceived(perception)


def _plan(journal: Journal, experts: ExpertPool, reasoner: Reasoner) -> None:
    journal.control.check()
    with journal.clock.part("planning"):
        plan = planning.plan(journal.perception, journal.state.profile, experts.catalogue, reasoner)
    journal.planned(plan)
    for warning in absentees(plan.steps, journal.state.profile, experts):
        journal.warn(warning)


def _goes_on(journal: Journal) -> bool:
    """Whether there is a step to take; where no step is left, or only late ones, from the best node so far."""
    spent = _spent_budget(journal)
    agenda = journal.node.agenda
    if spent or not agenda or agenda[0].task in LATE:
        settle(journal)
        agenda = journal.node.agenda
    if spent and agenda:
        journal.warn(f"the budget of {spent} is spent; left out: {', '.join(map(str, agenda))}")
    return bool(agenda) and not spent


def _spent_budget(journal: Journal) -> str:
    """The budget that is spent, in words; empty where none is."""
    profile = journal.state.profile
    if profile.max_expert_runs is not None and journal.state.expert_runs >= profile.max_expert_runs:
        return f"{profile.max_expert_runs} expert runs"
    return f"{profile.max_seconds:g} seconds" if _time_is_up(journal) else ""


def _runs_left(journal: Journal) -> int | None:
    most = journal.state.profile.max_expert_runs
    return None if most is None else max(0, most - journal.state.expert_runs)


def _time_is_up(journal: Journal) -> bool:
    most = journal.state.profile.max_seconds
    return most is not None and journal.clock.total() >= most


def _take_step(journal: Journal, experts: ExpertPool, reasoner: Reasoner) -> None:
    """Run the first step of the agenda and go on from its result, or from where it is best to go on."""
    node, step = journal.node, journal.node.agenda[0]
    gone = _is_gone_already(journal, step)
    profile = journal.state.profile
    with journal.clock.part("scoring"):
        able = () if gone else candidates(step, profile, experts)
        cards = favourites(able, profile, journal.image, journal.seen)[: _runs_left(journal)]
    new_id = len(journal.state.nodes)
    journal.tell(StepStarted(step=step, node=node.id, candidates=tuple(card.name for card in cards)))
    contest, verdicts = _run_candidates(journal, step, cards, experts, new_id)
    best = _chosen(journal, step, contest, reasoner)
    contest.let_go()
    image, seen = (best.image or journal.image, best.seen) if best else (journal.image, None)
    best = replace(best, image=None) if best else None
    changed = best is not None and best.verdict.expert != KEEP_INPUT
    child = Node(
        id=new_id,
        parent=node.id,
        step=step,
        expert=best.verdict.expert if best else KEEP_INPUT,
        width=image.width,
        height=image.height,
        score=best.verdict.score if best else 0.0,
        verdicts=verdicts,
        lead=contest.lead,
        faces=best.faces if best else None,
        failed=not gone and _has_failed(journal, step, best),
        agenda=node.agenda[1:] if changed else left_of(node),
        not_first=() if changed else node.not_first,
    )
    runs = sum(verdict.expert != KEEP_INPUT for verdict in verdicts)
    image = journal.add(child, image, child.faces.expert_runs if child.faces else runs)
    journal.tell(StepFinished(node=child))
    if child.failed:
        reflect(journal, step, reasoner)
    else:
        journal.move_to(child, image, seen)
    journal.save()


def _is_gone_already(journal: Journal, step: Step) -> bool:
    """Whether a degradation that was found has been taken away by an earlier step; keeping the input is no failure.

    A task that was asked for without its degradation being found is done all the same, and so is one whose
    degradation somebody else has seen and our estimator has not: it cannot tell that it is gone.
    """
    found = journal.perception.findings.get(step.task.degradation)
    profile = journal.state.profile
    if not (found and found.present) or step.task in LASTING or not profile.keep_input:
        return False
    if journal.node.step is None or profile.plan is not None or found.estimated is Severity.VERY_LOW:
        return False
    with journal.clock.part("perception"):
        now = estimates_from(journal.seen).get(step.task.degradation)
    return now is not None and now.severity is Severity.VERY_LOW


def _run_candidates(
    journal: Journal, step: Step, cards: Sequence[ExpertCard], experts: ExpertPool, new_id: int
) -> tuple[Contest, tuple[Verdict, ...]]:
    """The contest and every verdict; of the images only those that may still win are held in memory."""
    done, share = _progress_of(journal, step)
    contest, verdicts = Contest(), list[Verdict]()

    def watch(fraction: float) -> None:
        journal.progress(done + share * fraction, f"{step} by {len(cards)} experts")
        if contest.winner and _time_is_up(journal):
            raise _TimeIsUp

    control = journal.control.watched_by(watch)
    if step.task is Task.FACE_RESTORATION:
        run = partial(run_face_step, original=journal.folder.load_image(0))
    else:
        with journal.clock.part("scoring"):
            run = partial(run_candidates, seen=journal.seen)
    judged = run(
        journal.image,
        step,
        cards,
        journal.state.profile,
        experts,
        control=control,
        clock=journal.clock,
        description=journal.perception.description,
        most_runs=_runs_left(journal),
    )
    named = {card.name for card in cards} & set(journal.state.profile.experts)
    with suppress(_TimeIsUp):
        for candidate in judged:
            verdicts.append(candidate.verdict)
            if candidate.image is not None:
                with journal.clock.part("trace"):
                    journal.folder.save_thumbnail(f"{new_id}-{candidate.verdict.expert}", candidate.image)
            if not named or candidate.verdict.expert in named or candidate.faces:
                contest.enter(candidate)
            if contest.winner and _time_is_up(journal):
                break
            journal.tell(CandidateJudged(step=step, node=new_id, verdict=candidate.verdict))
    return contest, tuple(verdicts)


def _chosen(journal: Journal, step: Step, contest: Contest, reasoner: Reasoner) -> Candidate | None:
    """The best candidate. Where scores cannot tell several apart, the reasoner may."""
    if len(contest.ahead) < 2:
        return contest.winner
    with journal.clock.part("scoring"):
        name = reasoner.judge(step, journal.image, contest.ahead, journal.perception)
    return next((one for one in contest.ahead if one.verdict.expert == name), contest.winner)


def _has_failed(journal: Journal, step: Step, best: Candidate | None) -> bool:
    if step.task is Task.FACE_RESTORATION:
        return False  # Each face was decided by itself; faces that need nothing are no failure.
    if best is None or best.verdict.expert == KEEP_INPUT:
        return True
    if best.verdict.expert in journal.state.profile.experts:
        return False  # Whoever named it takes what it gives.
    published = rollback_threshold(best.verdict.metrics)
    if published is not None and best.verdict.quality < published:
        return True
    return best.verdict.score < journal.state.profile.rollback_below


def _finish(journal: Journal) -> None:
    output = Path(journal.state.output)
    journal.progress(1 - FINISHING_SHARE, "finishing")
    with journal.clock.part("finishing"):
        result = finish(journal.image, journal.plan)
    journal.show_result(result)
    journal.progress(1 - FINISHING_SHARE / 2, "writing")
    with journal.clock.part("writing"):
        write_image(result, output, overwrite=journal.state.overwrite)
    journal.finished()
    journal.tell(
        Finished(
            node=journal.state.current,
            output=str(output),
            width=result.width,
            height=result.height,
            seconds=journal.clock.seconds(),
        )
    )
    journal.progress(1.0, "done")


def _progress_of(journal: Journal, step: Step) -> tuple[float, float]:
    """How much of the run is done before a step, and how much the step adds; by output pixels."""
    share = (1 - FINISHING_SHARE) / _work(journal.state.nodes[0], journal.plan.steps)
    left = _work(journal.node, journal.node.agenda)
    all_work = _work(journal.state.nodes[0], journal.plan.steps)
    return max(0, all_work - left) * share, _work(journal.node, [step]) * share


def _work(node: Node, steps: Sequence[Step]) -> int:
    """Output pixels of the steps, one after another, beginning at a node."""
    pixels, work = node.width * node.height, 0
    for step in steps:
        pixels *= step.scale**2
        work += pixels
    return max(work, 1)
