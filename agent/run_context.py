"""The context of a run: its search state, and the writer and event log that record it."""

from __future__ import annotations

from agent.events import Asked, Listener, Started, Warned
from agent.report.page import write_report
from agent.run_folder import RunFolder
from agent.run_writer import EventLog, RunWriter
from agent.search.search_state import SearchState
from agent.state import ModelCall, RunState
from agent.timer import Timer
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.pool import ExpertPool


class RunContext(SearchState):
    """An active run. Its folder contains all that is needed to resume it."""

    def __init__(
        self,
        state: RunState,
        folder: RunFolder,
        timer: Timer,
        token: ProgressToken,
        listener: Listener | None,
        models: ExpertPool,
    ) -> None:
        self.folder = folder
        self.token = token
        self.writer = RunWriter(folder, timer)
        self.events = EventLog(folder, timer, listener)
        super().__init__(state, models, self.writer.load_image, timer, self.events.emit)

    def start(self, image: Image | None = None) -> None:
        """Store the input, so that the run can be resumed without its source; without `image`, resume the run."""
        if image is not None:
            self.move_to(self.node, self.writer.store_image(0, image))
            self.save()
            self.writer.flush()
        self.events.emit(
            Started(
                run=self.state.id,
                source=self.state.source,
                profile=self.state.profile.name,
                width=self.image.width,
                height=self.image.height,
                resumed=image is None,
            )
        )

    def save(self) -> None:
        """Write the state to disk."""
        self.change(seconds=self.timer.seconds())
        self.writer.save_state(self.state)

    def write_report(self) -> None:
        """Write the report of the run so far, after all its pictures are on disk."""
        self.writer.flush()
        with self.timer.section("trace"):
            write_report(self.state, self.folder.path)

    def warn(self, message: str) -> None:
        """Warn the user; the warning is kept in the state."""
        self.change(warnings=(*self.state.warnings, message))
        self.events.emit(Warned(message=message))

    def record_call(self, call: ModelCall) -> None:
        """Record a call of a language model in the trace, and its cost in the state."""
        self.change(model_use=self.state.model_use.plus(call))
        self.events.emit(Asked(call=call))
