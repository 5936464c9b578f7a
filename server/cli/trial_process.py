"""Tries a custom model in a separate process, because a hostile file may loop or grow without end.

`examine_in_process` is the parent's side. The process takes a request from stdin, answers it on stdout, and ends with
its parent.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from imaging.child import Child, Ended, limit_memory, watched
from imaging.errors import RestoreError
from imaging.progress import ProgressToken
from server.cli.trial import Trial, try_expert
from toolbox import errors
from toolbox.custom_models import CustomModel, examine
from toolbox.errors import WeightsError
from toolbox.store import ModelStore

MOST_SECONDS = 300.0
"""The largest network takes less than a minute for the test picture on one core; its libraries, ten seconds."""
LEAST_BYTES, BYTES_PER_BYTE = 6 << 30, 8
"""Memory limit: for libraries and activations, and in addition for each byte of the file."""
MOST_MESSAGE = 7500


class _Request(BaseModel):
    custom: CustomModel
    table: dict[str, Any]
    folder: Path


class _Answer(BaseModel, extra="forbid"):
    keys: dict[str, Any] = {}
    trial: Trial | None = None
    error: str = ""
    message: str = ""
    hint: str = ""


def examine_in_process(
    model: CustomModel, table: dict[str, Any], store: ModelStore, token: ProgressToken
) -> tuple[dict[str, Any], Trial]:
    """The card keys that follow from the model file, and the result of its trial.

    `table`: the other keys; `store`: the folder with its files. Raises `WeightsError`, also if the file crashes the
    process or exceeds its limits; other errors as `toolbox.custom_models.examine`; and `Cancelled`.
    """
    name, raised = model.file.name, list[Exception]()
    try:
        str(model.file).encode()
    except UnicodeEncodeError:  # JSON cannot hold the path; the copy's can be sent
        model = replace(model, file=store.path(table["file"]["name"]))
    model = replace(model, licence="")  # the table has it
    request = _Request(custom=model, table=table, folder=store.folder).model_dump(mode="json")
    child = Child("server.cli.trial_process")
    try:
        with watched(child, MOST_SECONDS, token.check) as raised:
            child.send(request)
            answer = _Answer.model_validate_json(child.head())
    except (Ended, ValidationError) as error:
        if raised:
            raise raised[0] from None
        if child.killed:
            raise WeightsError(f"{name} takes longer than {MOST_SECONDS:g} s for the test picture") from None
        raise WeightsError(f"{name} ended the process that tried it", "get it from its publisher again") from error
    finally:
        child.end()
    if answer.trial is None:
        kind = getattr(errors, answer.error, WeightsError)
        raise kind(answer.message, answer.hint)
    return answer.keys, answer.trial


def main() -> None:
    """Answer one request."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print
    request = _Request.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    size = sum(file.stat().st_size for file in request.folder.rglob("*") if file.is_file())
    limit_memory(LEAST_BYTES + BYTES_PER_BYTE * size)
    answers.write(_answered(request).model_dump_json().encode() + b"\n")
    answers.flush()
    os._exit(0)


def _answered(request: _Request) -> _Answer:
    trials: list[Trial] = []
    try:
        store = ModelStore(request.folder)
        keys = examine(request.custom, request.table, store, lambda expert: trials.append(try_expert(expert)))
    except RestoreError as error:
        return _Answer(error=type(error).__name__, message=error.message[:MOST_MESSAGE], hint=error.hint)
    except Exception as error:  # a hostile file can cause any
        why = f"{type(error).__name__}: {error}".split("\n", 1)[0][:500]
        return _Answer(error="WeightsError", message=f"{request.custom.file.name} cannot be used: {why}")
    return _Answer(keys=keys, trial=trials[0])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # until the parent closes it, or ends
    os._exit(1)


if __name__ == "__main__":
    main()
