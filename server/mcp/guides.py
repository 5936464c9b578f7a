"""Guidance for callers that take the steps themselves: the history of each image, and the next step of the plan."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.events import Event, RolledBack
from agent.reasoners.reasoner import RULES, Reasoner
from agent.regions import have_same_shape
from agent.search.next_step import child_of, choose_next_step, follow, is_gone_already
from agent.search.search_state import SearchState
from agent.state import KEEP_INPUT, Node, RunState, Step
from agent.step import StepResult
from agent.timer import Timer
from imaging.image import Image
from iqa.features import ImageFeatures
from profiles.schema import Profile
from server.mcp.inputs import TASK_TOOL_NAMES, InputImage
from server.mcp.workspace import CandidateOf
from toolbox.tasks import Task

if TYPE_CHECKING:
    from server.mcp.service import Service, Source

MOST_PLANS = 8
TOOL_OF = {task: name for name, task in TASK_TOOL_NAMES.items()}


@dataclass(slots=True)
class Guide:
    """The steps between a photo and an image that was made from it, and the plan of the photo if it has one."""

    search: SearchState
    handles: dict[int, str]
    """Handle of the image of each node, by its id."""
    profile: str = "default"
    """The name or file that the caller gave."""
    notes: list[str] = field(default_factory=list)
    """Decisions since the last reply."""
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    """Distinguishes the steps of this plan from those of another one."""

    def move_to(self, line: Sequence[tuple[str, CandidateOf | None]], image: Image) -> None:
        """Make an image the current one. `line`: the images that it was made from, and the image itself."""
        search = self.search
        at = search.state.nodes[0]
        for handle, candidate in line:
            known = [node for node in search.state.nodes if self.handles[node.id] == handle]
            if search.node in known:
                at = search.node
            elif known:
                at = known[-1]
            elif candidate:
                at = self._add(at, handle, candidate)
        if at.id != search.state.current:
            search.move_to(at)
        search.hold(image)
        search.timer = Timer()  # a step's budget begins with its call

    def _add(self, parent: Node, handle: str, candidate: CandidateOf) -> Node:
        """Add the node of a step that was taken before the plan was made, or by an earlier server process."""
        node = Node(
            id=len(self.search.state.nodes),
            parent=parent.id,
            step=candidate.step,
            expert=candidate.verdict.expert,
            width=parent.width * candidate.step.scale,
            height=parent.height * candidate.step.scale,
            score=candidate.verdict.score,
            remaining_steps=_without(parent.remaining_steps, candidate.step),
        )
        self.handles[node.id] = handle
        self.search.put(node)
        return node

    def took(
        self,
        step: Step,
        result: StepResult,
        profile: Profile,
        handle: str,
        image: Image,
        features: ImageFeatures | None,
    ) -> None:
        """Record the result of a step on the current image; does nothing without a plan.

        A step that is not in the plan does not change the planned steps, whatever its result.
        """
        search, node = self.search, self.search.node
        if search.state.plan is None:
            return
        search.put(node.model_copy(update={"remaining_steps": (step, *_without(node.remaining_steps, step))}))
        child = child_of(search, result, profile)
        if step not in node.remaining_steps:
            search.put(node)
            if child.expert == KEEP_INPUT:
                return
            child = child.model_copy(update={"failed": False})
        self.handles[child.id] = handle
        search.put(child)
        follow(search, child, image, features)

    def begin(self, service: Service, name: str, profile: str) -> str:
        """Start to guide the steps from the photo, which the caller names `name`, and return the first call."""
        self.profile = profile
        service.guides.pop(self.handles[0], None)
        for oldest in list(service.guides)[: 1 - MOST_PLANS]:
            del service.guides[oldest]
        first = self.next_call({self.handles[0]: name})
        service.guides[self.handles[0]] = self  # another thread may use it from here on
        return first

    def next_call(self, names: dict[str, str] | None = None) -> str:
        """The next tool call by the plan; empty without a plan. `names`: other names of images."""
        search, state = self.search, self.search.state
        if state.plan is None:
            return ""
        before = state.current
        choose_next_step(search)
        if search.state.current != before:
            self.notes.append(f"the earlier steps gained more: back to {self.handles[search.state.current]}")
        while search.node.remaining_steps and is_gone_already(search, search.node.remaining_steps[0]):
            gone = child_of(search, StepResult(None, (), None), state.profile, gone=True)
            self.notes.append(f"{gone.step} is not needed any more")
            self.handles[gone.id] = self.handles[search.node.id]
            search.put(gone)
            search.move_to(gone, search.image, search.features)
            choose_next_step(search)
        handle = self.handles[search.node.id]
        arguments: dict[str, Any] = {"image": (names or {}).get(handle, handle)}
        if search.node.remaining_steps:
            step = search.node.remaining_steps[0]
            tool = TOOL_OF[step.task]
            arguments |= {"profile": self.profile} if self.profile != "default" else {}
            if step.task is Task.SUPER_RESOLUTION:
                detail = state.profile.detail
                arguments |= {"scale": step.scale} | ({} if detail is None else {"detail": detail})
        else:
            tool = "finish_restoration"
            arguments |= _final_size(search)
        search.hold(None)
        return f"{tool} {json.dumps(arguments, ensure_ascii=False)}"

    def listen(self, event: Event) -> None:
        """Note a rollback for the next reply."""
        if isinstance(event, RolledBack):
            self.notes.append(event.reason)


def _without(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    """The steps without the first that equals `step`: 4x may be planned twice."""
    at = steps.index(step) if step in steps else len(steps)
    return (*steps[:at], *steps[at + 1 :])


def _final_size(search: SearchState) -> dict[str, Any]:
    width, height, node = search.plan.final_width, search.plan.final_height, search.node
    is_stretched = not have_same_shape((width, height), (node.width, node.height))
    return {"width": width, "height": height} | ({"stretch": True} if is_stretched else {})


def begin_guide(
    service: Service,
    root: str,
    image: Image,
    profile: Profile,
    reasoner: Reasoner = RULES,
    final: tuple[int, int] | None = None,
) -> Guide:
    """A guide for a photo that has no plan yet. `final`: the size that the caller asked for."""
    handles = {0: root}
    search = SearchState(
        RunState.at_input(image.width, image.height, profile, source=root, final_size=final),
        service.experts,
        lambda node: service.workspace.load(handles[node], service.settings.limits()),
        reasoner=reasoner,
    )
    guide = Guide(search, handles)
    search.tell = guide.listen
    search.hold(image)
    return guide


def guide_to(service: Service, source: Source, profile: Profile) -> Guide:
    """A guide whose current image is the source: that of the nearest ancestor with a plan, otherwise a new one."""
    line = service.workspace.line(source.picture.handle)
    for other in list(service.guides.values()):
        other.search.hold(None)
    guide = _nearest(service, line)
    if guide is None:
        guide = begin_guide(service, line[0][0], source.image, profile)
    else:
        line = line[[handle for handle, _ in line].index(guide.handles[0]) :]
    guide.move_to(line, source.image)
    return guide


def plan_id(service: Service, image: InputImage) -> str:
    """The identifier of the plan that steps from an image belong to; empty if there is none."""
    if not service.guides or image.kind == "url":
        return ""
    handle = service.digest(image)
    guide = _nearest(service, service.workspace.line(handle) or [(handle, None)])  # its first step stores a photo
    return guide.id if guide else ""


def _nearest(service: Service, line: Sequence[tuple[str, CandidateOf | None]]) -> Guide | None:
    return next((guide for handle, _ in reversed(line) if (guide := service.guides.get(handle))), None)
