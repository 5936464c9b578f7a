"""AgenticIR's search (Zhu et al. 2024, arXiv 2410.17809) with our experts, for comparison.

Depth-first search: the experts of the next scheduled task are tried in random order until one leaves at most a low
severity of its degradation, by our estimator. If none does, the schedule begins with another task; if no task
succeeds first, the one whose result has the best quality score is accepted as a compromise.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.expert_choice import candidates
from agent.perception import perceive
from agent.planning import plan
from agent.reasoners.reasoner import RULES
from agent.state import Step
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.degradations import estimates_from
from iqa.features import extract_features
from iqa.quality import quality_of
from profiles.loading import load_profile
from toolbox.expert import run_expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Severity, Task


@dataclass(slots=True)
class Search:
    """The search on one picture, and its cost so far."""

    experts: ExpertPool
    chance: np.random.Generator
    runs: int = 0
    looks: int = 1

    def restored(self, image: Image, remaining_steps: Sequence[Step]) -> Image:
        """The picture after all steps."""
        if not remaining_steps:
            return image
        failed: list[tuple[Step, Image]] = []
        for step in remaining_steps:
            result, succeeded = self._try(image, step)
            if succeeded:
                return self.restored(result, [other for other in remaining_steps if other is not step])
            failed.append((step, result))
        step, result = max(failed, key=lambda one: self._looks(one[1]))
        return self.restored(result, [other for other in remaining_steps if other is not step])

    def _try(self, image: Image, step: Step) -> tuple[Image, bool]:
        cards = list(candidates(step, load_profile("default"), self.experts))
        results = []
        for index in self.chance.permutation(len(cards)):
            results.append(run_expert(self.experts.get(cards[index].name), image, ProgressToken()))
            self.runs += 1
            self.looks += 1
            if step.task is Task.SUPER_RESOLUTION:
                return results[-1], True
            if estimates_from(extract_features(results[-1]))[step.task.degradation].severity <= Severity.LOW:
                return results[-1], True
        return max(results, key=self._looks, default=image), False

    def _looks(self, image: Image) -> float:
        self.looks += 1
        return quality_of(extract_features(image)).score


def restored_depth_first(image: Image, scale: int, experts: ExpertPool) -> tuple[Image, int, int, float]:
    """The result, expert runs, calls of the estimator or the metrics, and seconds."""
    started = time.perf_counter()
    sized = {"upscale_4k": False, "scale_factor": scale if scale > 1 else None, "require_sr_size": 0}
    profile = load_profile("default").model_copy(update=sized)
    remaining_steps = plan(perceive(image), profile, experts.catalogue, RULES).steps
    search = Search(experts, np.random.default_rng(image.width * image.height))
    result = search.restored(image, remaining_steps)
    return result, search.runs, search.looks, time.perf_counter() - started
