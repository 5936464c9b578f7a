"""The arguments of a batch, and their validation."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from agent.batch.folder import Settings
from agent.batch.pictures import BATCH_FOLDER, SAME_FORMAT, pictures
from agent.errors import BatchError
from agent.finishing import Finishing
from imaging.errors import OutputError
from imaging.output import FORMAT_OF
from imaging.reading import READABLE, Limits
from imaging.text import printable
from profiles.schema import Profile

MOST_THUMBNAILS = 1000
FREE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The arguments of `run_batch`."""

    source: Path
    results: Path
    profile: Profile
    suffix: str = ".png"
    """Suffix of the results; `SAME_FORMAT`: each in the format of its picture."""
    overwrite: bool = False
    """Replace files that are not results of this batch, and results with other settings."""
    retry_failed: bool = False
    finishing: Finishing = field(default_factory=Finishing)
    """Options of every result."""
    keep_runs: bool = False
    thumbnails: int = MOST_THUMBNAILS
    """Maximum thumbnails in the summary; larger batches are sampled."""
    limits: Limits = field(default_factory=Limits)
    most_pixels: int | None = None
    """Maximum pixels of one result, before and after it is resized to its final size."""
    free_bytes: int = FREE_BYTES
    """Space that must stay free on the disk of the results."""
    follow_links: bool = True

    @property
    def real_results(self) -> Path:
        """The results folder without links. `Path.resolve` would raise for circular links."""
        return Path(os.path.realpath(self.results))

    def settings(self) -> Settings:
        """The settings that all results share."""
        finishing = self.finishing
        return Settings(
            source=printable(str(self.source.resolve())),
            profile=self.profile,
            suffix=self.suffix,
            strip_metadata=finishing.strip_metadata,
            keep_print_size=finishing.keep_print_size,
            strength=finishing.strength,
            region=finishing.mask.key if finishing.mask else "",
        )

    def check(self) -> None:
        """Raise `BatchError` or `OutputError` if the request cannot be carried out."""
        source, results = Path(os.path.realpath(self.source)), self.real_results
        if not os.path.isdir(source):
            raise BatchError(f"{self.source} is not a folder", "give a folder with pictures")
        if results == source:
            raise BatchError(
                f"results in {self.results} itself would be taken for pictures the next time",
                f"give another folder, for example {results / 'restored'}",
            )
        if os.path.lexists(results) and not os.path.isdir(results):
            raise OutputError(f"{self.results} is a file or leads nowhere", "give a folder for the results")
        if BATCH_FOLDER in source.parts:
            raise BatchError(f"{self.source} holds a batch's own files", "give a folder with pictures")
        if self.suffix not in (*FORMAT_OF, SAME_FORMAT):
            raise OutputError(f"there is no format {self.suffix!r}", f"use one of {', '.join(FORMAT_OF)}")
        if next(pictures(source, follow_links=self.follow_links), None) is None:
            raise BatchError(
                f"there is no picture in {self.source} or below", f"pictures end in {', '.join(sorted(READABLE))}"
            )
