"""Measurements of `benchmarks.real`, a JSON line per picture, so that a stopped run can be resumed."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.run import StepTaken
from toolbox.tasks import Degradation, Severity, Task

AGENT = "agent"
TONE_STEPS = (Task.BRIGHTENING.value, Task.DEHAZING.value)
Key = tuple[str, str, str]
"""Set, picture, and who restored it."""


class Found(BaseModel):
    """A degradation that perception reports as present."""

    model_config = ConfigDict(frozen=True)

    degradation: Degradation
    severity: Severity
    confidence: float

    def __str__(self) -> str:
        return f"{self.degradation.value} {self.severity.words} {self.confidence:.0%}"


class Row(BaseModel):
    """One restoration of one picture, by the agent or by one expert alone."""

    model_config = ConfigDict(frozen=True)

    set_name: str
    picture: str
    by: str
    """`AGENT`, or the name of an expert."""
    commit: str
    scale: int = 1
    input_db: float | None = None
    """PSNR (RGB) of the input, enlarged bicubically where it is smaller than the truth; None without a truth."""
    result_db: float | None = None
    untouched: bool = False
    """Whether the result has the pixels of the input."""
    found: tuple[Found, ...] = ()
    content: str = ""
    """The kind of content as perceived."""
    steps: tuple[StepTaken, ...] = ()
    seconds: float = 0.0
    error: str = ""
    """Why there is no result."""

    @property
    def key(self) -> Key:
        """The key of the measurement."""
        return self.set_name, self.picture, self.by

    @property
    def gain(self) -> float:
        """PSNR of the result less that of the input, dB."""
        return (self.result_db or 0.0) - (self.input_db or 0.0)

    @property
    def tone_adjustments(self) -> int:
        """Brightening and dehazing steps."""
        return sum(step.step in TONE_STEPS for step in self.steps)

    @property
    def told_found(self) -> str:
        """The present degradations, in words."""
        return ", ".join(map(str, self.found)) or "nothing"

    @property
    def told_steps(self) -> str:
        """The steps taken, in words."""
        return self.error or " > ".join(f"{step.step}: {step.expert}" for step in self.steps) or "nothing"


class Results:
    """The rows in one file; a later row of the same key replaces an earlier one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: dict[Key, Row] = {}
        if file.exists():
            self._rows = {row.key: row for line in file.read_text("utf-8").splitlines() if (row := _row(line))}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, set_name: str, picture: str, by: str = AGENT) -> Row | None:
        """The row of that key; None if nothing has been measured."""
        return self._rows.get((set_name, picture, by))

    def has(self, set_name: str, picture: str, by: str = AGENT) -> bool:
        """Whether that has been measured without an error."""
        row = self.get(set_name, picture, by)
        return row is not None and not row.error

    def experts(self, set_name: str) -> tuple[str, ...]:
        """The experts that have run alone on pictures of a set."""
        return tuple(dict.fromkeys(by for name, _, by in self._rows if name == set_name and by != AGENT))

    def commits(self) -> tuple[str, ...]:
        """The commits whose code made the rows."""
        return tuple(dict.fromkeys(row.commit for row in self._rows.values()))

    def add(self, row: Row) -> None:
        """Keep a row, in the file too."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a+b") as file:
            if file.tell() and not _ends_a_line(self._file):
                file.write(b"\n")
            file.write(row.model_dump_json().encode() + b"\n")
        self._rows[row.key] = row


def _row(line: str) -> Row | None:
    """The row of a line; None if a killed run wrote half of it."""
    try:
        return Row.model_validate_json(line)
    except ValidationError:
        return None


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(-1, 2)
        return opened.read(1) == b"\n"
