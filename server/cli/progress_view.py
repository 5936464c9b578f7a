"""Progress of a run on a terminal: a bar, and a line for every notable event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from agent import events
from agent.state import KEEP_INPUT, Node
from server.cli.console import PlainConsole


class TerminalView:
    """A listener that writes to stderr, with a bar of these columns inside its block."""

    def __init__(self, title: str, total: float | None, *columns: ProgressColumn, quiet: bool) -> None:
        self._quiet = quiet
        self._console = PlainConsole()
        disable = quiet or not self._console.is_terminal
        self._bar = Progress(*columns, console=self._console, transient=True, disable=disable)
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class ProgressView(TerminalView):
    """Shows a run. `run` is its identifier, once known."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__("starting", 1.0, *_columns(), quiet=quiet)
        self.run = ""

    def __call__(self, event: events.Event) -> None:
        """Show an event."""
        match event:
            case events.Progress():
                self._bar.update(self._task, completed=event.fraction, description=event.message)
            case events.Started():
                self.run = event.run
                again = "resuming" if event.resumed else "restoring"
                size = f"{event.width}x{event.height}"
                self._say(f"run {event.run}: {again} {event.source} ({size}) with profile {event.profile}")
            case events.Perceived():
                self._say(event.perception.description)
            case events.Planned():
                steps = ", ".join(map(str, event.plan.steps)) or "nothing to do"
                self._say(f"plan: {steps}; to {event.plan.final_width}x{event.plan.final_height}")
            case events.Asked():
                self._say(f"asked {event.call.model} to {event.call.purpose}: {event.call.seconds:.1f} s")
            case events.StepFinished():
                self._say(_step_line(event.node))
            case events.RolledBack():
                self._say(f"rolled back: {event.reason}")
            case events.Warned():
                self._say(f"warning: {event.message}")

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._console.print(line)


@contextmanager
def bar(title: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on stderr; yields a function that sets its share in [0, 1]."""
    console = PlainConsole()
    with Progress(*_columns(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=1.0)
        yield lambda done: progress.update(task, completed=done)


def _columns() -> tuple[ProgressColumn, ...]:
    return TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()


def _step_line(node: Node) -> str:
    faces = node.faces.faces if node.faces else ()
    verdicts = [verdict for face in faces for verdict in face.verdicts] or node.verdicts
    experts = len({verdict.expert for verdict in verdicts} - {KEEP_INPUT})
    seconds = sum(verdict.seconds for verdict in verdicts)
    chosen = "input kept" if node.expert == KEEP_INPUT else f"{node.expert} chosen"
    many = "expert" if experts == 1 else "experts"
    return f"{node.step}: {chosen}, score {node.score:.3f} ({experts} {many} in {seconds:.1f} s)"
