"""The search state: the state of a run, the image of its current node and the features of that image."""

from __future__ import annotations

from collections.abc import Callable

from agent.errors import RunError
from agent.events import Event
from agent.reasoners.reasoner import RULES, Reasoner
from agent.state import Node, Perception, Plan, RunState
from agent.timer import Timer
from imaging.image import Image
from iqa.crops import Box, crops_of
from iqa.features import ImageFeatures, extract_features
from toolbox.pool import ExpertPool


class SearchState:
    """The steps taken so far and those that remain, without their record on disk."""

    def __init__(
        self,
        state: RunState,
        experts: ExpertPool,
        load: Callable[[int], Image],
        timer: Timer | None = None,
        tell: Callable[[Event], None] = lambda _: None,
        reasoner: Reasoner = RULES,
    ) -> None:
        """`load` returns the image of a node; `tell` is called with an event for every decision."""
        self.state = state
        self.experts = experts
        self.timer = timer or Timer()
        self.tell = tell
        self.reasoner = reasoner
        self._load = load
        self._image: Image | None = None
        self._features: ImageFeatures | None = None
        self._crops: tuple[Box, ...] = ()

    @property
    def node(self) -> Node:
        """The current node."""
        return self.state.nodes[self.state.current]

    @property
    def image(self) -> Image:
        """The image of the current node."""
        if self._image is None:
            self._image = self._load(self.state.current)
        return self._image

    @property
    def input_image(self) -> Image:
        """The input of the run."""
        return self.image if self.state.current == 0 else self._load(0)

    @property
    def features(self) -> ImageFeatures:
        """Features of the current image, always extracted from the crops that were chosen on the input."""
        if self._features is None:
            self._crops = self._crops or crops_of(self.input_image)
            self._features = extract_features(self.image, self._crops, self.experts)
        return self._features

    @property
    def perception(self) -> Perception:
        """The result of perception; `RunError` before it."""
        if self.state.perception is None:
            raise RunError(f"run {self.state.id} has not perceived its image yet")
        return self.state.perception

    @property
    def plan(self) -> Plan:
        """The first plan; `RunError` before planning."""
        if self.state.plan is None:
            raise RunError(f"run {self.state.id} has no plan yet")
        return self.state.plan

    def change(self, **changes: object) -> None:
        """Change fields of the state."""
        self.state = self.state.model_copy(update=changes)

    def put(self, node: Node) -> None:
        """Add a node to the state, or replace an existing one."""
        nodes = self.state.nodes
        self.change(nodes=(*nodes[: node.id], node, *nodes[node.id + 1 :]))

    def move_to(self, node: Node, image: Image | None = None, features: ImageFeatures | None = None) -> None:
        """Make `node` the current one. Its image, unless given, is loaded and features are extracted when needed."""
        self._image, self._features = image, features
        self.change(current=node.id)

    def hold(self, image: Image | None) -> None:
        """Keep the current image in memory; None: release it until it is needed."""
        self._image = image
