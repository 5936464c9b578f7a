"""Iterate over the pictures of a folder and its subfolders in a fixed order, without listing all in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imaging.reading import READABLE

BATCH_FOLDER = "restore4k-batch"
"""Folder of a batch's own files among its results."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A file with the suffix of a picture."""

    name: str
    """Path below the source folder."""
    file: Path
    size: int = 0
    modified_ns: int = 0
    is_alone: bool = True
    """No other picture in its folder has the same name with another suffix."""
    problem: str = ""
    """Why the file or folder cannot be accessed."""

    def restored_name(self, suffix: str) -> str:
        """Path of the result below the results folder."""
        path = PurePosixPath(self.name)
        return str(path.with_suffix(suffix) if self.is_alone else path.with_name(path.name + suffix))


def pictures(root: Path, *, follow_links: bool = True) -> Iterator[Picture]:
    """By name, a folder's own before those of its sub-folders. Hidden files and folders are not looked at, nor are
    folders below in which a batch, this one or another, keeps its results.

    `follow_links`: take links to files too; links to folders are never followed.
    Only the names of one folder are in memory at a time.
    """
    return _below(root, PurePosixPath(), follow_links)


def _below(folder: Path, place: PurePosixPath, follow_links: bool) -> Iterator[Picture]:
    names, folders = list[str](), list[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == BATCH_FOLDER:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif _suffix(entry.name) in READABLE and entry.is_file(follow_symlinks=follow_links):
                    names.append(entry.name)
    except OSError as error:
        problem = f"the folder {folder} cannot be read: {error.strerror}; allow it and call again"
        yield Picture(_utf8(f"{place}/"), folder, problem=problem)
        return
    namesakes = Counter(map(_stem, names))
    for name in sorted(names):
        yield _picture(folder / name, place / name, is_alone=namesakes[_stem(name)] == 1)
    for name in sorted(folders):
        if not os.path.isdir(folder / name / BATCH_FOLDER):
            yield from _below(folder / name, place / name, follow_links)


def _picture(file: Path, place: PurePosixPath, *, is_alone: bool) -> Picture:
    name = _utf8(str(place))
    if name != str(place):
        return Picture(name, file, problem="its name is not UTF-8; rename it")
    try:
        status = file.stat()
    except OSError as error:
        return Picture(name, file, problem=f"{file} cannot be accessed: {error.strerror}; check its permissions")
    return Picture(name, file, status.st_size, status.st_mtime_ns, is_alone)


def _utf8(name: str) -> str:
    """The name as valid UTF-8; unchanged if it is valid."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _stem(name: str) -> str:
    """A key that is equal for names that could collide on some file system once their suffix is changed."""
    return os.path.splitext(name)[0].casefold()


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
