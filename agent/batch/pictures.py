"""Iterate over the pictures of a folder and its subfolders in a fixed order, without listing all in memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imaging.opening import begins_like_an_image
from imaging.output import FORMAT_OF, MOST_LEVELS
from imaging.reading import READABLE

BATCH_FOLDER = "restore4k-batch"
"""Folder of a batch's internal files, inside its results."""

SAME_FORMAT = "same"
"""In place of a suffix: each result gets the format of its picture, or PNG if that format cannot be written."""
NO_SUFFIX = "without suffix"


@dataclass(frozen=True, slots=True)
class Picture:
    """A file with the suffix or the first bytes of a picture."""

    name: str
    """Path below the source folder."""
    file: Path
    size: int = 0
    modified_ns: int = 0
    is_alone: bool = True
    """Whether no other picture in its folder has the same name with another suffix."""
    extends_a_name: bool = False
    """Whether its name without suffix is the full name of another picture in its folder: `a.jpg.png` and `a.jpg`."""
    problem: str = ""
    """Why the file or folder cannot be accessed."""

    def restored_name(self, suffix: str) -> str:
        """Path of the result below the results folder, different for every picture."""
        path = PurePosixPath(self.name)
        if suffix == SAME_FORMAT:
            suffix = path.suffix if path.suffix.lower() in FORMAT_OF else ".png"
            if suffix == path.suffix and not self.extends_a_name:
                return self.name
        replaces_suffix = self.is_alone and not self.extends_a_name
        return str(path.with_suffix(suffix) if replaces_suffix else path.with_name(path.name + suffix))


def pictures(root: Path, *, follow_links: bool = True, passed_over: Counter[str] | None = None) -> Iterator[Picture]:
    """The pictures in name order, those of a folder before those of its subfolders.

    Hidden files and folders, and subfolders that hold the results of a batch, are skipped.
    A file counts as a picture by its suffix, or by its first bytes if the suffix is unknown or missing.
    `follow_links`: include links to files; links to folders are never followed. `passed_over`: counts the other
    files by suffix. Only the names of one folder are in memory at a time.
    """
    passed_over = Counter[str]() if passed_over is None else passed_over
    left = [(root, PurePosixPath())]  # not recursive: folders can be nested more deeply than calls
    while left:
        folder, place = left.pop()
        if len(place.parts) > MOST_LEVELS // 2:
            problem = f"it is nested more than {MOST_LEVELS // 2} folders deep; restore that folder by itself"
            yield Picture(_utf8(f"{place}/"), folder, problem=problem)
            continue
        folders = yield from _inside(folder, place, follow_links, passed_over)
        left += [(folder / name, place / name) for name in reversed(folders)]


def _inside(
    folder: Path, place: PurePosixPath, follow_links: bool, passed_over: Counter[str]
) -> Generator[Picture, None, list[str]]:
    """Yields the pictures directly in a folder; returns the names of its subfolders."""
    names, folders = list[str](), list[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == BATCH_FOLDER:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif not _is_file(entry, follow_links):
                    continue
                elif _suffix(entry.name) in READABLE or begins_like_an_image(folder / entry.name):
                    names.append(entry.name)
                else:
                    passed_over[_utf8(_suffix(entry.name)) or NO_SUFFIX] += 1
    except OSError as error:
        problem = f"the folder {folder} cannot be read: {error.strerror}; check its permissions and call again"
        yield Picture(_utf8(f"{place}/"), folder, problem=problem)
        return []
    namesakes, whole = Counter(map(_stem, names)), {name.casefold() for name in names}
    for name in sorted(names):
        stem = _stem(name)
        yield _picture(folder / name, place / name, is_alone=namesakes[stem] == 1, extends_a_name=stem in whole)
    return [name for name in sorted(folders) if not os.path.isdir(folder / name / BATCH_FOLDER)]


def _is_file(entry: os.DirEntry[str], follow_links: bool) -> bool:
    """Whether an entry is a regular file; a link that leads nowhere or in a circle is none."""
    return os.path.isfile(entry.path) if follow_links else entry.is_file(follow_symlinks=False)


def _picture(file: Path, place: PurePosixPath, *, is_alone: bool, extends_a_name: bool) -> Picture:
    name = _utf8(str(place))
    if name != str(place):
        return Picture(name, file, problem="its name is not UTF-8; rename it")
    try:
        status = file.stat()
    except OSError as error:
        return Picture(name, file, problem=f"{file} cannot be accessed: {error.strerror}; check its permissions")
    return Picture(name, file, status.st_size, status.st_mtime_ns, is_alone, extends_a_name)


def _utf8(name: str) -> str:
    """The name as valid UTF-8; unchanged if it is valid."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _stem(name: str) -> str:
    """A key that is equal for names that could collide on some file system once their suffix is changed."""
    return os.path.splitext(name)[0].casefold()


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
