"""Whether a step is worth taking: it was requested, or a gain is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.state import Finding, Perception, TaskGain
from iqa.expected_gain import AS_GOOD_DB, ExpectedGain, expected_gain_of, expected_gains, is_probable
from iqa.features import ImageFeatures
from profiles.schema import Profile
from toolbox.tasks import GAIN_TASKS, Degradation, Severity, Task

CLEAR_TONE_DB = 1.7
"""Median of the expected gain from which a global tone adjustment is planned. Of 177 cases above it that the fit had
left out, 6 lose by dehazing, at most 6 dB, and the mean gain is 8.5 dB; no clean or real photo is among them.
"""
CLEAR_HAZE_DB = 1.0
"""The same for haze that is found beside a fault that a cleaning task removes: 255 cases, 12 lose; mean 7.6 dB."""
SURE = 0.6
"""Minimum confidence to rely on a finding of rain, and of darkness or haze in profiles that `always` correct them."""
SEVERE_CONFIDENCE = 0.85
"""Confidence from which a degradation of high severity is tried where a gain is possible: the step's candidates are
compared with its input.
"""
MOTION_BLUR_CONFIDENCE = 0.7
"""Confidence from which motion blur of the whole picture is tried."""
RAIN_MEDIAN_DB = 0.7
"""Median from which rain that is severe is worth a step without a probable gain.

Of 450 clean training photos at half their size one would be derained, reeds with a median of 0.5; of 60 training
pictures for which deraining was planned, those without a clear gain had 0.74 or more.
"""


def task_gains(features: ImageFeatures) -> dict[Task, TaskGain]:
    """The expected gain of each task on a picture."""
    all_gains = expected_gains(features)
    gains = {task: expected_gain_of(task, all_gains) for task in GAIN_TASKS}
    return {
        task: TaskGain(low_db=round(gain.low_db, 3), median_db=round(gain.median_db, 3))
        for task, gain in gains.items()
    }


def ranking_gains(features: ImageFeatures, task: Task) -> Mapping[str, ExpectedGain]:
    """The expected gains by which the experts of a task are ranked on a picture; none for global tone
    adjustments, whose experts are ranked by priors.

    Their gain depends mostly on whether the tones of the picture are intended. Such a step is planned only after that
    is decided, by a clear gain or a request.
    """
    return {} if task.spec.is_global else expected_gains(features, task)


def is_requested(task: Task, perception: Perception, profile: Profile) -> bool:
    """Whether a person, a profile or an outside model asks for a task, whatever our own estimate is."""
    if not task.spec.gain_is_predicted or task in (profile.plan or ()) or task in (profile.restore_option or ()):
        return True
    found = perception.findings.get(task.degradation)
    return bool(found and found.present and found.estimated is not None and found.estimated < Severity.MEDIUM)


def is_worth_a_step(task: Task, perception: Perception, gains: Mapping[Task, TaskGain], profile: Profile) -> bool:
    """Whether a task is expected to help a picture with these gains, as far as the profile allows it.

    Doubtful global tone adjustments are not planned: a picture that is meant to be dark or pale would lose more than
    the step could gain.
    """
    if task.spec.is_global:
        choice = tone_adjustment_choice(task, profile)
        if choice == "never":
            return False
        if choice == "always":
            return _is_sure(perception.findings.get(task.degradation))
        least_db = CLEAR_HAZE_DB if _is_haze_beside_faults(task, perception) else CLEAR_TONE_DB
        return task in gains and gains[task].median_db > least_db
    if task not in gains or not _is_seen_or_best(task, perception, gains):
        return False
    finding = perception.findings.get(task.degradation)
    may_gain = gains[task].median_db > (RAIN_MEDIAN_DB if task is Task.DERAINING else -AS_GOOD_DB)
    if task is Task.DERAINING and not (finding and finding.present):
        return False  # rows of windows are expected to gain, too; rain that can be removed is always found
    if task is Task.MOTION_DEBLURRING and may_gain and _is_motion_blurred_everywhere(finding):
        return True
    if _is_only_denoising(task, finding, gains):
        return False
    if task is Task.JPEG_ARTIFACT_REMOVAL and _is_absent(finding, gains):
        return False
    return _is_expected(task, perception, gains) or (may_gain and _is_clearly_severe(finding))


def may_become_worth_a_step(task: Task, perception: Perception, profile: Profile) -> bool:
    """Whether a task whose degradation is found may be worth a step after other steps."""
    if not task.spec.is_global:
        return True
    return tone_adjustment_choice(task, profile) == "auto" and _is_haze_beside_faults(task, perception)


def _is_haze_beside_faults(task: Task, perception: Perception) -> bool:
    """Whether haze is found together with another degradation: such a picture was hardly taken for its fog."""
    present = perception.present()
    return (
        task is Task.DEHAZING and Degradation.HAZE in present and any(name.task.spec.is_cleaning for name in present)
    )


def tone_adjustment_choice(task: Task, profile: Profile) -> str:
    """The profile's choice for brightening or dehazing: "auto", "always" or "never"."""
    return profile.brightening if task is Task.BRIGHTENING else profile.dehazing


def doubts(perception: Perception, tasks: Sequence[Task], profile: Profile) -> tuple[str, ...]:
    """Findings that are not planned, a sentence each, so that a person or an outside model can decide."""
    found = {name: perception.findings[name] for name in perception.present() if name.task.spec.gain_is_predicted}
    left = tuple(
        _doubt(name, finding, profile)
        for name, finding in found.items()
        if name.task not in tasks
        and (not name.task.spec.is_global or tone_adjustment_choice(name.task, profile) != "never")
    )
    undecided = tuple(
        f"{_words(name, finding)} may be intended; it is removed only if a gain is expected after the other steps"
        for name, finding in found.items()
        if name.task in tasks
        and name.task.spec.is_global
        and not is_requested(name.task, perception, profile)
        and not is_worth_a_step(name.task, perception, perception.gains, profile)
    )
    return left + undecided


def _words(name: Degradation, finding: Finding) -> str:
    return f"{name.value.replace('_', ' ')} ({finding.severity.words})"


def _doubt(name: Degradation, finding: Finding, profile: Profile) -> str:
    found = _words(name, finding)
    if profile.plan is not None or profile.restore_option is not None:
        return f"{found} is left: the given plan leaves {name.task.value} out"
    if name.task.spec.is_global:
        return f"{found} may be intended and is left; ask for {name.task.value} to change it"
    return f"{found} is left: no expert is expected to improve it; ask for {name.task.value} to try"


def _is_seen_or_best(task: Task, perception: Perception, gains: Mapping[Task, TaskGain]) -> bool:
    """Whether a task's degradation is seen at all, or the task gains most, or is denoising.

    Networks for other tasks often remove noise too, so that noise alone lets many tasks gain; and the estimator of
    severities overlooks the noise of cameras.
    """
    found = perception.findings.get(task.degradation)
    best = max((one for one in gains if not one.spec.is_global), key=lambda one: gains[one].median_db, default=None)
    is_seen = found is not None and found.severity > Severity.VERY_LOW
    return is_seen or task in (best, Task.DENOISING)


def _is_expected(task: Task, perception: Perception, gains: Mapping[Task, TaskGain]) -> bool:
    """Whether the gain of a task is probable; that of defocus deblurring also on the picture as it was given.

    Noise and blocks that a network removes take fine detail with them, so that a cleaned picture looks soft.
    """
    measured = [gains[task]]
    if task is Task.DEFOCUS_DEBLURRING and task in perception.gains:
        measured.append(perception.gains[task])
    return all(is_probable(task, gain.low_db, gain.median_db) for gain in measured)


def _is_only_denoising(task: Task, finding: Finding | None, gains: Mapping[Task, TaskGain]) -> bool:
    """Whether deblurring, or deraining where rain is not surely found, gains hardly more than denoising does.

    The networks for these tasks remove noise, too. What is out of focus may be so by intent: of 196 training pictures
    of a shallow depth of field with a probable gain this keeps deblurring from 164, and of 142 real pairs through a
    soft lens from none. Bricks and fur are easily taken for rain: on 59 training cases without rain and with a
    probable gain, deraining gains 2.0 dB and denoising 4.5.
    """
    is_doubtful = task.spec.is_deblurring or (task is Task.DERAINING and not _is_sure(finding))
    if not is_doubtful or Task.DENOISING not in gains:
        return False
    return gains[task].median_db < max(0.0, gains[Task.DENOISING].median_db) + AS_GOOD_DB


def _is_absent(finding: Finding | None, gains: Mapping[Task, TaskGain]) -> bool:
    """Whether no compression is found with high confidence, and no noise that its networks would remove, too.

    The gain alone takes mosaics and other regular grids for blocks.
    """
    noise = gains.get(Task.DENOISING)
    is_noisy = noise is not None and is_probable(Task.DENOISING, noise.low_db, noise.median_db)
    return bool(finding and not finding.present and finding.confidence >= SEVERE_CONFIDENCE and not is_noisy)


def _is_clearly_severe(finding: Finding | None) -> bool:
    """Whether a degradation is severe with high confidence: then a possible gain is enough."""
    return bool(finding and finding.severity >= Severity.HIGH and finding.confidence >= SEVERE_CONFIDENCE)


def _is_motion_blurred_everywhere(finding: Finding | None) -> bool:
    """Whether motion blur is found in every cell of the picture.

    Such blur is never intended. Deconvolution gains several decibels or nothing. The features of the blurred picture
    do not show which; the consistency of the result does (`agent.judging`).
    """
    return bool(
        finding
        and finding.present
        and finding.confidence >= MOTION_BLUR_CONFIDENCE
        and min(finding.where, default=0.0) >= Severity.LOW
    )


def _is_sure(finding: Finding | None) -> bool:
    return bool(finding and finding.present and finding.confidence >= SURE)
