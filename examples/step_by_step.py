"""Do by the step tools what `restore_to_4k` does in one call, to the same bytes: an outside agent in charge.

    python examples/step_by_step.py examples/images/coffee.jpg --long-side 1024

Every decision is made here, out of what the tools answer: which step is next, whether one is needed any more, and
where to go on when one does not help. Change any of them, and you have an agent of your own.
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
"""What no other task's expert does by the way: these steps are never found to be done already."""

Step: TypeAlias = tuple[str, int]
"""Task and scale."""
Json: TypeAlias = dict[str, Any]


@dataclass
class Attempt:
    """The steps that did not help on the image as it is now, each with its score and what was left to do after it."""

    tried: list[Step] = field(default_factory=list)
    left: list[tuple[float, list[Step]]] = field(default_factory=list)

    def give_up(self) -> list[Step]:
        """All that is still worth doing: the rest after the best attempt, without what has kept the input."""
        _, left = max(self.left, key=lambda attempt: attempt[0])
        return [step for step in left if step not in self.tried]


class StepByStep:
    """One restoration, over an open client."""

    def __init__(self, client: Client, photo: Path, profile: str, wishes: Json) -> None:
        self._client = client
        self._photo: Json = {"path": str(photo)}
        self._profile = {"profile": profile}
        self._wishes = {**wishes, **self._profile}
        """What `restore_to_4k` would be told too: long_side or scale, findings."""

    async def restore(self) -> Json:
        """Plan, take every step, finish; the answer of the last call."""
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
                remaining_steps, image, untouched, attempt = (
                    rest,
                    {"handle": result["image"]["handle"]},
                    False,
                    Attempt(),
                )
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
        """Whether an earlier step has taken this one's degradation away."""
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
    """Start the server, restore the photo step by step, say where the result lies."""
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
