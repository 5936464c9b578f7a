"""Whether a step is worth taking: somebody asked for it, or the picture is expected to gain by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent.state import Finding, Perception, TaskGain
from iqa.expected_gain import expected_gain_of, expected_gains
from iqa.features import ImageFeatures
from profiles.schema import Profile
from toolbox.tasks import Degradation, Severity, Task

GAIN_TASKS = (
    Task.DENOISING,
    Task.JPEG_ARTIFACT_REMOVAL,
    Task.MOTION_DEBLURRING,
    Task.DEFOCUS_DEBLURRING,
    Task.DERAINING,
    Task.DEHAZING,
    Task.BRIGHTENING,
)
"""Tasks whose gain is predicted; enlargement follows from sizes, faces are decided one by one."""
SURE = 0.6
"""Confidence from which tones are changed by a profile that always allows it."""
PLAIN = 0.85
"""Confidence from which a degradation of high severity is plain to see. Of 660 training pictures with a reference
this adds 36 steps, which gain 1.0 dB in the mean; three lose 0.4 to 1.6 dB.
"""


def task_gains(features: ImageFeatures) -> dict[Task, TaskGain]:
    """What each task is expected to gain on a picture."""
    all_gains = expected_gains(features)
    gains = {task: expected_gain_of(task, all_gains) for task in GAIN_TASKS}
    return {
        task: TaskGain(low_db=round(gain.low_db, 3), median_db=round(gain.median_db, 3))
        for task, gain in gains.items()
    }


def is_requested(task: Task, perception: Perception, profile: Profile) -> bool:
    """Whether a person, a profile or an outside model asks for a task, whatever our own estimate is."""
    if task not in GAIN_TASKS or task in (profile.plan or ()) or task in (profile.restore_option or ()):
        return True
    found = perception.findings.get(task.degradation)
    return bool(found and found.present and found.estimated is not None and found.estimated < Severity.MEDIUM)


def is_worth_a_step(task: Task, perception: Perception, gains: Mapping[Task, TaskGain], profile: Profile) -> bool:
    """Whether a task is clearly expected to help a picture with these gains, as far as the profile allows it.

    Tones are left alone in doubt: a picture that is dark or pale by nature loses more than any other step can win.
    """
    if task.spec.is_global:
        choice = tone_choice(task, profile)
        if choice == "never":
            return False
        if choice == "always":
            return _is_sure(perception.findings.get(task.degradation))
    if task not in gains or not _is_seen_or_best(task, perception, gains):
        return False
    return gains[task].low_db > 0 or (
        gains[task].median_db > 0 and _is_plain(perception.findings.get(task.degradation))
    )


def tone_choice(task: Task, profile: Profile) -> str:
    """ "auto", "always" or "never", of brightening and dehazing."""
    return profile.brightening if task is Task.BRIGHTENING else profile.dehazing


def doubts(perception: Perception, tasks: Sequence[Task], profile: Profile) -> tuple[str, ...]:
    """What was found and is not planned, a sentence each, so that a person or an outside model can decide."""
    return tuple(
        _doubt(name, finding, profile)
        for name, finding in perception.findings.items()
        if finding.present
        and name.task in GAIN_TASKS
        and name.task not in tasks
        and (not name.task.spec.is_global or tone_choice(name.task, profile) != "never")
    )


def _doubt(name: Degradation, finding: Finding, profile: Profile) -> str:
    found = f"{name.value.replace('_', ' ')} ({finding.severity.words})"
    if name.task.spec.is_global:
        return f"{found} may be so by nature and is left; ask for {name.task.value} to change it"
    return f"{found} is left: no expert is expected to gain on it; ask for {name.task.value} to try"


def _is_seen_or_best(task: Task, perception: Perception, gains: Mapping[Task, TaskGain]) -> bool:
    """Whether a task's degradation is seen at all, or the task gains most, or is denoising.

    Networks for other tasks often remove noise too, so that noise alone lets many tasks gain; and the estimator of
    severities overlooks the noise of cameras.
    """
    found = perception.findings.get(task.degradation)
    best = max((one for one in gains if not one.spec.is_global), key=lambda one: gains[one].median_db, default=None)
    is_seen = found is not None and found.severity > Severity.VERY_LOW
    return is_seen or task in (best, Task.DENOISING)


def _is_plain(finding: Finding | None) -> bool:
    """Whether a degradation is plain to see: then a gain needs to be likely only, and not certain."""
    return bool(finding and finding.severity >= Severity.HIGH and finding.confidence >= PLAIN)


def _is_sure(finding: Finding | None) -> bool:
    return bool(finding and finding.present and finding.confidence >= SURE)
