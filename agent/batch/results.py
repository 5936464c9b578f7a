"""The results of a batch: finds those of earlier calls that are still valid, records and publishes new ones."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from agent.batch.engines.work import Outcome
from agent.batch.folder import BatchFolder
from agent.batch.pictures import Picture
from agent.batch.record import Entry, Record
from agent.batch.request import BatchRequest
from imaging.disk import FREE_IT, is_disk_full
from imaging.errors import OutputError, OutputExists


class Results:
    """The record of a batch and the folder of its results, kept consistent."""

    def __init__(self, request: BatchRequest, folder: BatchFolder, record: Record) -> None:
        self._request, self._folder, self._record = request, folder, record
        self._digest = request.settings().digest

    def earlier(self, picture: Picture) -> Entry | None:
        """The entry of an earlier call if it is still valid; None if the picture must be restored.

        A result that was recorded but not published, because its process was killed, is published now.
        """
        entry = self._record.latest(picture.name)
        current = (picture.size, picture.modified_ns, self._digest)
        if entry is None or (entry.size, entry.modified_ns, entry.settings) != current:
            return None
        if entry.status == "done":
            return entry if self._is_in_place(entry) else None
        retried = self._request.retry_failed or (entry.blocked and not self.obstacle(picture))
        return None if retried else entry

    def obstacle(self, picture: Picture) -> str:
        """Why the result cannot be written to its path; empty if it can."""
        target = self._folder.results / picture.restored_name(self._request.suffix)
        if not target.exists() or (self._request.overwrite and target.is_file()):
            return ""
        return "" if self._is_own_result(picture) else _exists(target)

    def store(self, picture: Picture, outcome: Outcome) -> Entry:
        """Record a worker's outcome and publish its result. The entry says whether that succeeded."""
        if outcome.figures is None:
            return self.fail(picture, outcome.reason)
        output = outcome.work.result.stat()
        entry = self._entry(picture).model_copy(
            update={
                "status": "done",
                "output": picture.restored_name(self._request.suffix),
                "figures": outcome.figures,
                "output_size": output.st_size,
                "output_modified_ns": output.st_mtime_ns,
                "replaces": self._request.overwrite or self._is_own_result(picture),
            }
        )
        if outcome.before:
            self._folder.save_thumbnails(picture.name, outcome.before, outcome.after)
        self._record.append(entry)
        try:
            self._folder.publish(entry)
        except OSError as error:
            if is_disk_full(error):  # the next call publishes it
                full = f"{self._folder.results} cannot be written: {error.strerror}"
                raise OutputError(full, FREE_IT) from error
            outcome.work.result.unlink(missing_ok=True)
            blocked = isinstance(error, FileExistsError)
            target = self._folder.results / entry.output
            reason = _exists(target) if blocked else f"{target} cannot be written: {error.strerror or error}"
            return self.fail(picture, reason, blocked=blocked)
        return entry

    def fail(self, picture: Picture, reason: str, *, blocked: bool = False) -> Entry:
        """Record a failure."""
        message = reason.encode("utf-8", "replace").decode()
        entry = self._entry(picture).model_copy(update={"reason": message, "blocked": blocked})
        self._record.append(entry)
        return entry

    def _entry(self, picture: Picture) -> Entry:
        """A new entry of a picture, which keeps the facts of its previous result."""
        before = self._record.latest(picture.name)
        result = before.model_dump(include={"output", "output_size", "output_modified_ns"}) if before else {}
        return Entry(
            **result,
            source=picture.name,
            status="failed",
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            settings=self._digest,
            size=picture.size,
            modified_ns=picture.modified_ns,
        )

    def _is_in_place(self, entry: Entry) -> bool:
        """Whether the result exists at its path; publishes it first if that has not been done yet."""
        if not self._folder.has(entry) and self._folder.has_unpublished(entry):
            with suppress(OSError):
                self._folder.publish(entry)
        return self._folder.has(entry)

    def _is_own_result(self, picture: Picture) -> bool:
        """Whether the file at the result's path is an earlier result, unchanged since."""
        entry = self._record.latest(picture.name)
        if entry is None or entry.output != picture.restored_name(self._request.suffix):
            return False
        return self._folder.has(entry)


def _exists(target: Path) -> str:
    return str(OutputExists(f"{target} exists already", "move it away and call again, or ask for overwriting"))
