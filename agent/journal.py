"""The memory of a run: its state, saved after every step; its images; and what it tells the world."""

from __future__ import annotations

from agent.clock import Clock
from agent.errors import RunError
from agent.events import Asked, Event, Listener, Perceived, Planned, Progress, Started, Warned
from agent.folder import RunFolder
from agent.report import write_report
from agent.state import ModelCall, Node, Perception, Plan, RunState
from imaging.control import Control
from imaging.image import Image


class Journal:
    """What is known of a run while it goes on. All that a resumed run needs is in its folder."""

    def __init__(
        self, state: RunState, folder: RunFolder, clock: Clock, control: Control, listener: Listener | None
    ) -> None:
        self.state = state
        self.folder = folder
        self.clock = clock
        self.control = control
        self._listener = listener
        self._image: Image | None = None
        self._told = 0.0

    def begin(self, image: Image) -> None:
        """Keep the input, so that from here on the run can be resumed without its source."""
        self._image = self.keep(0, image)
        self.save()
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
        """Keep and tell the plan; it becomes the agenda of the input."""
        self._change(plan=plan)
        self.replace(self.node.model_copy(update={"agenda": plan.steps, "score": self.perception.quality}))
        self.save()
        self.tell(Planned(plan=plan))
        for warning in plan.warnings:
            self.warn(warning)

    def add(self, node: Node, image: Image, expert_runs: int) -> Image:
        """A new node with its image, which comes back as it was kept."""
        kept = self.keep(node.id, image)
        self._change(nodes=(*self.state.nodes, node), expert_runs=self.state.expert_runs + expert_runs)
        return kept

    def replace(self, node: Node) -> None:
        """Another version of a node."""
        nodes = list(self.state.nodes)
        nodes[node.id] = node
        self._change(nodes=tuple(nodes))

    def move_to(self, node: Node, image: Image | None = None) -> None:
        """Go on from that node; its image is read where it is not given."""
        self._image = image or self.folder.load_image(node.id)
        self._change(current=node.id)

    def begin_again(self, root: Node) -> None:
        """Set aside how far the run has come, and go on from another version of its input's node."""
        self._change(set_aside=self.state.current)
        self.replace(root)
        self.move_to(root)

    def keep(self, node: int, image: Image) -> Image:
        """Save a node's image and thumbnail; gives the image as it was kept."""
        with self.clock.part("trace"):
            kept = self.folder.save_image(node, image)
            self.folder.save_thumbnail(str(node), kept)
        return kept

    def save(self) -> None:
        """Put the state on disk."""
        with self.clock.part("trace"):
            self._change(seconds=self.clock.seconds())
            self.folder.save_state(self.state)

    def finished(self) -> None:
        """The result is written: say so on disk, write the report, free the images."""
        self._change(finished=True)
        self.save()
        self.write_report()
        self.folder.drop_images()

    def write_report(self) -> None:
        """The page of the run as it stands."""
        with self.clock.part("trace"):
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
        event = event.model_copy(update={"at": round(self.clock.total(), 3)})
        with self.clock.part("trace"):
            self.folder.append_event(event)
            if self._listener:
                self._listener(event)

    def progress(self, fraction: float, message: str) -> None:
        """How much is done; never goes back. Raises `Cancelled` where the caller asked to stop."""
        self.control.check()
        self._told = max(self._told, min(fraction, 1.0))
        if self._listener:
            self._listener(Progress(fraction=self._told, message=message, at=round(self.clock.total(), 3)))

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
