"""What the loop passes around: the state of a run, its current image, and where both are written and reported."""

from __future__ import annotations

from agent.errors import RunError
from agent.events import Asked, Listener, Started, Warned
from agent.report.page import write_report
from agent.run_folder import RunFolder
from agent.run_writer import EventLog, RunWriter
from agent.state import ModelCall, Node, Perception, Plan, RunState
from agent.timer import Timer
from imaging.image import Image
from imaging.progress import ProgressToken
from iqa.crops import Box, crops_of
from iqa.features import ImageFeatures, extract_features
from toolbox.pool import ExpertPool


class RunContext:
    """A run while it goes on. All that a resumed run needs is in its folder."""

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
        self.writer = RunWriter(folder, timer)
        self.events = EventLog(folder, timer, listener)
        self._models = models
        self._image: Image | None = None
        self._features: ImageFeatures | None = None
        self._crops: tuple[Box, ...] = ()

    def start(self, image: Image | None = None) -> None:
        """Store the input, so that the run can be resumed without its source; without `image`, resume the run."""
        if image is None:
            self._image = self.writer.load_image(self.state.current)
        else:
            self._image = self.writer.store_image(0, image)
            self.save()
            self.writer.flush()
        self.events.tell(
            Started(
                run=self.state.id,
                source=self.state.source,
                profile=self.state.profile.name,
                width=self.image.width,
                height=self.image.height,
                resumed=image is None,
            )
        )

    @property
    def node(self) -> Node:
        """The node from which the run goes on."""
        return self.state.nodes[self.state.current]

    @property
    def image(self) -> Image:
        """The image of that node."""
        if self._image is None:
            raise RunError(f"run {self.state.id} has not begun")
        return self._image

    @property
    def input_image(self) -> Image:
        """The image that the run began with."""
        return self.image if self.state.current == 0 else self.writer.load_image(0)

    @property
    def features(self) -> ImageFeatures:
        """Features of the current image, extracted during the whole run from the same crops: those of the input."""
        if self._features is None:
            self._crops = self._crops or crops_of(self.input_image)
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

    def change(self, **changes: object) -> None:
        """Change fields of the state."""
        self.state = self.state.model_copy(update=changes)

    def put(self, node: Node) -> None:
        """Add a node to the state, or replace one by another version."""
        self.state = self.state.with_node(node)

    def move_to(self, node: Node, image: Image | None = None, features: ImageFeatures | None = None) -> None:
        """Go on from a node; an image that is not given is loaded, features are extracted when they are needed."""
        self._image, self._features = image or self.writer.load_image(node.id), features
        self.change(current=node.id)

    def save(self) -> None:
        """Write the state to disk."""
        self.change(seconds=self.timer.seconds())
        self.writer.save_state(self.state)

    def write_report(self) -> None:
        """Write the report of the run as it stands, when all its pictures are on disk."""
        self.writer.flush()
        with self.timer.section("trace"):
            write_report(self.state, self.folder.path)

    def warn(self, message: str) -> None:
        """Warn the user; the warning is kept in the state."""
        self.change(warnings=(*self.state.warnings, message))
        self.events.tell(Warned(message=message))

    def asked(self, call: ModelCall) -> None:
        """Record a call of a language model in the trace, and its cost in the state."""
        self.change(model_use=self.state.model_use.plus(call))
        self.events.tell(Asked(call=call))
