"""The memory of a run: its state, saved after every step; its images; and what it tells the world.

Images and states are written by a thread of their own, one after another, while the run goes on: what is on disk is
at every moment the run as it was, at most one step ago.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import ParamSpec

from agent.errors import RunError
from agent.events import Asked, Event, Listener, Perceived, Planned, Progress, Started, Warned
from agent.report.page import write_report
from agent.run_folder import RunFolder
from agent.state import ModelCall, Node, Perception, Plan, RunState
from agent.timer import Timer
from imaging.convert import rounded
from imaging.image import Image
from imaging.pixels import is_in_file
from imaging.progress import ProgressToken
from iqa.crops import Box, crops_of
from iqa.features import ImageFeatures, extract_features
from toolbox.pool import ExpertPool

P = ParamSpec("P")


class RunContext:
    """What is known of a run while it goes on. All that a resumed run needs is in its folder."""

    def __init__(
        self,
        state: RunState,
        folder: RunFolder,
        timer: Timer,
        token: ProgressToken,
        listener: Listener | None,
        models: ExpertPool,
    ) -> None:
        self.state = state
        self.folder = folder
        self.timer = timer
        self.token = token
        self._listener = listener
        self._models = models
        self._image: Image | None = None
        self._features: ImageFeatures | None = None
        self._crops: tuple[Box, ...] = ()
        self._fraction = 0.0
        self._writer = ThreadPoolExecutor(1, "restore4k-trace")
        self._written: list[Future[object]] = []
        self._broken = False

    def begin(self, image: Image) -> None:
        """Keep the input, so that from here on the run can be resumed without its source."""
        self._image = self.store(0, image)
        self.save()
        self.flush()
        self._tell_start(resumed=False)

    def take_up(self) -> None:
        """Read the image of the last finished step."""
        self._image = self.folder.load_image(self.state.current)
        self._tell_start(resumed=True)

    @property
    def node(self) -> Node:
        """The node from which the run goes on."""
        return self.state.nodes[self.state.current]

    @property
    def image(self) -> Image:
        """Its image."""
        if self._image is None:
            raise RunError(f"run {self.state.id} has not begun")
        return self._image

    @property
    def features(self) -> ImageFeatures:
        """What is seen of it, in the same crops during the whole run: those of the input."""
        if self._features is None:
            if not self._crops:
                first = self.image if self.state.current == 0 else self.folder.load_image(0)
                self._crops = crops_of(first)
            self._features = extract_features(self.image, self._crops, self._models)
        return self._features

    @property
    def perception(self) -> Perception:
        """What perception said; `RunError` before that."""
        if self.state.perception is None:
            raise RunError(f"run {self.state.id} has not looked at its image yet")
        return self.state.perception

    @property
    def plan(self) -> Plan:
        """The first plan; `RunError` before there is one."""
        if self.state.plan is None:
            raise RunError(f"run {self.state.id} has no plan yet")
        return self.state.plan

    def perceived(self, perception: Perception) -> None:
        """Keep and tell what was perceived."""
        self._change(perception=perception)
        self.save()
        self.tell(Perceived(perception=perception))

    def planned(self, plan: Plan) -> None:
        """Keep and tell the plan; its steps remain to be done from the input."""
        self._change(plan=plan)
        self.replace(self.node.model_copy(update={"remaining_steps": plan.steps, "score": self.perception.quality}))
        self.save()
        self.tell(Planned(plan=plan))
        for warning in plan.warnings:
            self.warn(warning)

    def add(self, node: Node, image: Image, expert_runs: int) -> Image:
        """A new node with its image, which comes back as it was kept."""
        kept = self.store(node.id, image)
        self._change(nodes=(*self.state.nodes, node), expert_runs=self.state.expert_runs + expert_runs)
        return kept

    def replace(self, node: Node) -> None:
        """Another version of a node."""
        nodes = list(self.state.nodes)
        nodes[node.id] = node
        self._change(nodes=tuple(nodes))

    def move_to(self, node: Node, image: Image | None = None, features: ImageFeatures | None = None) -> None:
        """Go on from that node; what is not given of it is read, or looked at when it is needed."""
        if image is None:
            self.flush()
        self._image, self._features = image or self.folder.load_image(node.id), features
        self._change(current=node.id)

    def begin_again(self, root: Node) -> None:
        """Set aside how far the run has come, and go on from another version of its input's node."""
        self._change(restart_node=self.state.current)
        self.replace(root)
        self.move_to(root)

    def store(self, node: int, image: Image) -> Image:
        """Save a node's image and thumbnail; gives the image as it is kept, in 16 bit.

        A resumed run, which reads it, goes on from the same pixels as one that was never stopped.
        """
        with self.timer.section("trace"):
            alpha = None if image.alpha is None else rounded(image.alpha)
            kept = replace(image, pixels=rounded(image.pixels), alpha=alpha)
            self.flush()  # no more than one image waits for the disk
            self._write(self.folder.save_image, node, kept)
            self._write(self.folder.save_thumbnail, str(node), kept)
            self._flush_where_memory_is_short(kept)
        return kept

    def show_result(self, result: Image) -> None:
        """Save what the report's slider shows."""
        self._write(lambda: self.folder.save_before_after(self.folder.load_image(0), result))
        self._flush_where_memory_is_short(result)

    def save(self) -> None:
        """Put the state on disk."""
        with self.timer.section("trace"):
            self._change(seconds=self.timer.seconds())
            self._write(self.folder.save_state, self.state)

    def flush(self) -> None:
        """Wait until all is on disk. Raises `RunError` where it could not be written."""
        with self.timer.section("trace"):
            written, self._written = self._written, []
            for one in written:
                one.result()

    def _flush_where_memory_is_short(self, image: Image) -> None:
        """Two who go over a picture beyond the budget at once would need it in memory."""
        if is_in_file(image.pixels):
            self.flush()

    def close(self) -> None:
        """The same, for good."""
        self._writer.shutdown()
        self.flush()

    def finished(self) -> None:
        """The result is written: say so on disk, write the report, free the images."""
        self._change(finished=True)
        self.save()
        self.write_report()
        self.flush()
        self.folder.drop_images()

    def write_report(self) -> None:
        """The page of the run as it stands, with all the pictures that wait for the disk."""
        self.flush()
        with self.timer.section("trace"):
            write_report(self.state, self.folder.path)

    def warn(self, message: str) -> None:
        """Something that the user should know; kept in the state."""
        self._change(warnings=(*self.state.warnings, message))
        self.tell(Warned(message=message))

    def asked(self, call: ModelCall) -> None:
        """A language model has been asked; kept in the trace, and added up in the state."""
        self._change(model_use=self.state.model_use.plus(call))
        self.tell(Asked(call=call))

    def tell(self, event: Event) -> None:
        """Write an event to the trace and hand it to the listener."""
        event = event.model_copy(update={"at": round(self.timer.total(), 3)})
        with self.timer.section("trace"):
            self.folder.append_event(event)
            if self._listener:
                self._listener(event)

    def progress(self, fraction: float, message: str) -> None:
        """How much is done; never goes back. Raises `Cancelled` where the caller asked to stop before the end."""
        if not self.state.finished:
            self.token.check()
        self._fraction = max(self._fraction, min(fraction, 1.0))
        if self._listener:
            self._listener(Progress(fraction=self._fraction, message=message, at=round(self.timer.total(), 3)))

    def _write(self, write: Callable[P, object], *what: P.args, **named: P.kwargs) -> None:
        self._written.append(self._writer.submit(self._write_now, lambda: write(*what, **named)))

    def _write_now(self, write: Callable[[], object]) -> None:
        """Nothing after a write that failed: a state on disk speaks only of images that are there."""
        if not self._broken:
            self._broken = True
            write()
            self._broken = False

    def _change(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)

    def _tell_start(self, *, resumed: bool) -> None:
        self.tell(
            Started(
                run=self.state.id,
                source=self.state.source,
                profile=self.state.profile.name,
                width=self.image.width,
                height=self.image.height,
                resumed=resumed,
            )
        )
