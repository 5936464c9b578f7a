"""Restore a photo with the step tools, as an outside agent: the result has the same bytes as `restore_to_4k` gives.

    python examples/step_by_step.py examples/images/coffee.jpg --long-side 1024

The tools run the experts of a step and choose among their results. This file decides the rest from their answers:
which step is next, whether it is still needed, and what follows when it does not help. Change any of these decisions,
and you have an agent of your own.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from mcp import Client, StdioServerParameters

TOOLS = {
    "denoising": "denoise",
    "dehazing": "dehaze",
    "deraining": "derain",
    "brightening": "brighten",
    "motion_deblurring": "deblur_motion",
    "defocus_deblurring": "deblur_defocus",
    "jpeg_artifact_removal": "remove_jpeg_artifacts",
    "super_resolution": "super_resolve",
    "face_restoration": "restore_faces",
    "old_photo_restoration": "restore_old_photo",
}
LASTING = ("brightening", "dehazing", "super_resolution", "face_restoration")
"""Never fixed as a side effect of another step, so these steps are never skipped."""

Step: TypeAlias = tuple[str, int]
"""Task and scale."""
Json: TypeAlias = dict[str, Any]


@dataclass
class Attempt:
    """The steps that did not help on the current image, each with its score and the steps that remain after it."""

    tried: list[Step] = field(default_factory=list)
    left: list[tuple[float, list[Step]]] = field(default_factory=list)

    def give_up(self) -> list[Step]:
        """The steps that remain after the attempt with the best score, without those that did not help."""
        _, left = max(self.left, key=lambda attempt: attempt[0])
        return [step for step in left if step not in self.tried]


class StepByStep:
    """One restoration, over an open client."""

    def __init__(self, client: Client, photo: Path, profile: str, wishes: Json) -> None:
        self._client = client
        self._photo: Json = {"path": str(photo)}
        self._profile = {"profile": profile}
        self._wishes = {**wishes, **self._profile}
        """Options that `restore_to_4k` takes too: long_side or scale, findings."""

    async def restore(self) -> Json:
        """Plan, take every step, finish; returns the answer of the last call."""
        plan = await self._call("plan_restoration", image=self._photo, **self._wishes)
        found = {finding["task"] for finding in plan["diagnosis"]["findings"] if finding["present"]}
        remaining_steps, image, untouched = steps_of(plan), self._photo, True
        attempt = Attempt()
        while remaining_steps:
            step, *rest = remaining_steps
            if not untouched and step[0] in found and await self._is_gone(image, step):
                remaining_steps, attempt = rest, Attempt()
                continue
            result = await self._take(image, step)
            if result["expert"] != "keep_input" or step[0] == "face_restoration":
                image = {"handle": result["image"]["handle"]}
                remaining_steps, untouched, attempt = rest, False, Attempt()
                continue
            attempt.tried.append(step)
            attempt.left.append((score_of(result), rest))
            others = [one for one in remaining_steps if one not in attempt.tried and one[0] != "super_resolution"]
            if others:
                remaining_steps = await self._another_order(remaining_steps, attempt.tried)
            else:
                remaining_steps, untouched, attempt = attempt.give_up(), False, Attempt()
        size = {"width": plan["final_width"], "height": plan["final_height"]}
        return await self._call("finish_restoration", image=image, **size)

    async def _take(self, image: Json, step: Step) -> Json:
        task, scale = step
        more: Json = {"scale": scale} if task == "super_resolution" else {}
        if task == "face_restoration":
            more = {"original": self._photo}
        result = await self._call(TOOLS[task], image=image, **more, **self._profile)
        print(f"{task}: {result['expert']}")
        return result

    async def _is_gone(self, image: Json, step: Step) -> bool:
        """Whether an earlier step has removed this step's degradation."""
        if step[0] in LASTING:
            return False
        findings = (await self._call("reason_degradations", image=image))["diagnosis"]["findings"]
        return any(one["task"] == step[0] and one["severity"] == "very low" for one in findings)

    async def _another_order(self, remaining_steps: list[Step], tried: list[Step]) -> list[Step]:
        tasks = list(dict.fromkeys(task for task, _ in remaining_steps))
        failed = [task for task, _ in tried]
        plan = await self._call("plan_restoration", image=self._photo, plan=tasks, failed=failed, **self._wishes)
        return steps_of(plan)

    async def _call(self, tool: str, **arguments: Any) -> Json:
        result = await self._client.call_tool(tool, arguments)
        if result.is_error:
            sys.exit(f"{tool}: {result.content}")
        answer: Json = result.structured_content or {}
        return answer


def steps_of(plan: Json) -> list[Step]:
    """The steps of a plan in their order."""
    return [(step["task"], step["scale"]) for step in plan["steps"]]


def score_of(result: Json) -> float:
    """The winner's."""
    scores: list[float] = [one["score"] for one in result["verdicts"] if one["expert"] == result["expert"]]
    return scores[0]


async def main(photo: Path, profile: str, wishes: Json) -> None:
    """Start the server, restore the photo step by step, print where the result is saved."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "server", "serve", str(photo.parent), "--output", "restored", "--runs", "runs"],
    )
    async with Client(server) as client:
        print((await StepByStep(client, photo, profile, wishes).restore())["summary"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("photo", type=Path)
    parser.add_argument("--long-side", type=int, default=4096)
    parser.add_argument("--profile", default="default")
    given = parser.parse_args()
    anyio.run(main, given.photo.absolute(), given.profile, {"long_side": given.long_side})
