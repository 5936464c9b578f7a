"""State that all tools of a server share: folders, workspace, loaded experts and the queue of jobs."""

from __future__ import annotations

import difflib
import filecmp
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.regions import RegionMask
from agent.run_folder import RunFolder
from agent.state import RunState, expert_of
from imaging.atomic import rename_new
from imaging.disk import FREE_IT, require_space
from imaging.errors import OutputError, OutputExists, RestoreError
from imaging.image import Image
from imaging.output import FORMAT_OF, check_output
from imaging.preparing import as_stored, prepared
from imaging.progress import ProgressToken
from imaging.reading import READABLE, read_bytes, read_image
from imaging.text import printable
from imaging.writing import write_image
from profiles.schema import Profile
from server.auth.access import Access, with_home
from server.auth.clients import Callers, current_client, settings_of
from server.errors import BadAddress, RequestError, TooMuchAsked, UnknownRun
from server.mcp.fetching import Fetcher
from server.mcp.guides import Guide
from server.mcp.inputs import SUFFIXES, InputImage, decode_data, mask_image
from server.mcp.jobs import Jobs
from server.mcp.roots import current_roots
from server.mcp.runs import Runs
from server.mcp.subscriptions import Subscriptions
from server.mcp.workspace import CandidateOf, Workspace, handle_of
from server.profile_options import choose_profile, with_steps
from server.schemas import Picture
from server.settings import ServerSettings
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

MOST_NAMESAKES = 9999
MOST_NAME = 200
MOST_SIMILAR = 3
RUN_PATTERN = r"[0-9A-Za-z][0-9A-Za-z_-]{0,80}"
MOST_LOOKED_AT = 5000
"""Maximum files and folders of an allowed folder that are looked at for completions."""


@dataclass(frozen=True, slots=True)
class Source:
    """The input image of a call."""

    image: Image
    """Its transparent pixels are filled."""
    picture: Picture
    file: Path
    """File from which the image can be read again."""
    name: str
    """Base name of the results."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The folders of one client."""

    settings: ServerSettings
    access: Access
    workspace: Workspace
    guides: dict[str, Guide] = field(default_factory=dict)


def photos_below(folder: Path) -> Iterator[Path]:
    """The files in a folder and its subfolders that are photos by their names.

    Stops after `MOST_LOOKED_AT` entries. Folders that cannot be read are skipped, and links to folders not followed.
    """
    left, seen = [folder], 0
    while left:  # not recursive: folders can be nested more deeply than calls
        with suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > MOST_LOOKED_AT:
                    return
                if entry.is_dir(follow_symlinks=False):
                    left.append(Path(entry.path))
                elif Path(entry.name).suffix.lower() in READABLE and os.path.isfile(entry.path):
                    yield Path(entry.path)


class Service:
    """The components of one server. Its methods are synchronous, for worker threads.

    Settings, access and workspace are those of the client whose call is being answered.
    """

    def __init__(self, settings: ServerSettings, callers: Callers | None = None) -> None:
        self._callers = callers
        self.common = settings
        """The settings that all clients share."""
        self._places = dict[str, _Place]()
        self._fetcher = Fetcher(settings.max_bytes)
        self.experts = ExpertPool()
        self.jobs = Jobs(settings.max_seconds)
        self.runs = Runs(self.jobs, settings.wait_seconds)
        self.bus = Subscriptions()
        """The bus for notifications of changed resources."""

    @property
    def settings(self) -> ServerSettings:
        """The settings of the calling client."""
        return self._place.settings

    @property
    def access(self) -> Access:
        """The folders that the calling client may read."""
        allowed, roots = self._place.access, current_roots()
        return Access((*allowed.allowed, *roots)) if roots else allowed

    @property
    def workspace(self) -> Workspace:
        """The workspace of the calling client."""
        return self._place.workspace

    @property
    def guides(self) -> dict[str, Guide]:
        """The plans of the calling client's photos, by the handles of the photos; the oldest first."""
        return self._place.guides

    @property
    def _place(self) -> _Place:
        name = current_client()
        if self._callers and not name:
            raise RequestError("authentication required", "send a token")
        if name not in self._places:
            own = settings_of(name, self._callers.folders(name), self.common) if self._callers else self.common
            workspace = Workspace(own.workspace.resolve(), own.workspace_bytes, own.workspace_days, own.free_bytes)
            self._places[name] = _Place(own, Access((*own.allowed, own.output)), workspace)
        return self._places[name]

    def open(self, given: InputImage, token: ProgressToken | None = None, *, keep: bool = True) -> Source:
        """Load and store the input image; without `keep` nothing is stored, and a name stands in for the handle.

        Raises `RequestError` and `ImageError`, and `Cancelled` by the token.
        """
        limits = self.settings.limits()
        if given.kind == "handle":
            image, handle = self.workspace.load(given.value, limits, token), given.value
            file, name = self.workspace.path(handle), self.workspace.name(handle)
        elif given.kind in ("path", "run"):
            file = self._file(given)
            data = read_bytes(file, limits)  # once: the decoded bytes are the stored ones
            image = as_stored(prepared(read_image(data, limits, name=str(file), token=token)))
            name = file.stem
            handle = self.workspace.store_file(data, name) if keep else given.value
        else:
            data = self._data(given, token)
            image = as_stored(prepared(read_image(data, limits, token=token)))
            handle = self.workspace.store_file(data) if keep else "(given)"
            file, name = (self.workspace.path(handle), self.workspace.name(handle)) if keep else (Path(), handle)
        return Source(image, Picture(handle=handle, width=image.width, height=image.height), file, name)

    def mask(self, region: str | None) -> RegionMask | None:
        """The mask of a region argument, which may name a mask image that the client can read; None without one."""
        if not region:
            return None
        image = mask_image(region)
        return RegionMask.of(region, self.open(image, keep=False).image if image else None)

    def digest(self, given: InputImage) -> str:
        """The handle of the input image, which is not decoded or stored. Raises `RequestError` and `ImageError`."""
        if given.kind == "handle":
            self.workspace.path(given.value)
            return given.value
        is_file = given.kind in ("path", "run")
        return handle_of(read_bytes(self._file(given), self.settings.limits()) if is_file else self._data(given))

    def _file(self, given: InputImage) -> Path:
        """The file of a path or of the result of a run."""
        if given.kind == "run":
            return self.result_of(self.run_state(given.value))
        file = self.access.readable(given.value)
        try:
            os.lstat(file)
        except FileNotFoundError as error:
            hint = self._similar(file.name) or "check the path"
            raise RequestError(f"{given.value[:200]!r} does not exist", hint) from error
        except OSError:
            pass  # reading it gives the reason
        return file

    def readable_folder(self, folder: str) -> Path:
        """The real path of a folder in the allowed ones. Raises `RequestError`."""
        real = self.access.readable(folder)
        if not os.path.isdir(real):  # Path.is_dir raises for names that are too long
            raise RequestError(f"{folder[:200]!r} is not a folder", "give a folder inside an allowed one")
        return real

    def _similar(self, name: str) -> str:
        """A question with the photos whose names are most similar to `name`; empty if there are none."""
        by_name = {Path(file).name: file for file in self.files()}
        found = [by_name[one] for one in difflib.get_close_matches(name, by_name, MOST_SIMILAR)]
        return f"did you mean {' or '.join(found)}?" if found else ""

    def _data(self, given: InputImage, token: ProgressToken | None = None) -> bytes:
        """The bytes of data in the call, or of a URL."""
        if given.kind == "data":
            return decode_data(given.value)
        if not self.settings.urls:
            raise BadAddress(
                "this server does not fetch images from the web",
                "start it with --allow-urls to allow that, or give a path or a data: URI",
            )
        return self._fetcher.fetch(given.value, token)

    def run_folder(self, run: str) -> Path:
        """The folder of a restoration in the client's folder of runs. Raises `UnknownRun`."""
        folder = self.settings.runs / run
        if not re.fullmatch(RUN_PATTERN, run) or folder.is_symlink() or not (folder / "state.json").is_file():
            raise UnknownRun(f"there is no run {run[:80]!r}", "list_runs lists them")
        return folder

    def run_state(self, run: str) -> RunState:
        """The state of a restoration in the client's folder of runs. Raises `UnknownRun` and `RunError`."""
        return RunFolder(self.run_folder(run)).load_state()

    def result_of(self, state: RunState) -> Path:
        """The result of a restoration. Raises `AccessDenied` if it is not in a folder that the client may read."""
        return self.access.readable(state.output)

    def may_write(self, state: RunState) -> bool:
        """Whether an unfinished restoration will write a new file in the output folder."""
        inside = Path(os.path.realpath(state.output)).is_relative_to(self.settings.output.resolve())
        return inside and not state.overwrite

    def find_restoration(self, key: str) -> str | None:
        """The newest restoration with that key that has its result or can be continued.

        Folders of runs that were killed before their first saved state are deleted.
        """
        for folder in sorted(self.settings.runs.glob(f"*-{key}"), reverse=True):
            with suppress(RestoreError):  # damaged, of another version, or begun by another process
                RunFolder(folder).delete_if_never_begun()
                state = self.run_state(folder.name)
                if not state.finished or self.result_of(state).exists():
                    return folder.name
        return None

    def profile(
        self,
        name: str,
        *,
        order: Sequence[Task] | None = None,
        max_seconds: float | None = None,
        max_expert_runs: int | None = None,
        experts: Sequence[str] | None = None,
        detail: float | None = None,
    ) -> Profile:
        """The profile, by name or allowed file, with the caller's plan and experts. Raises `RestoreError`."""
        name = str(self.access.readable(name)) if name.endswith(".toml") else name.strip().replace(" ", "-")
        wanted = choose_profile(name, max_seconds=max_seconds, max_expert_runs=max_expert_runs, detail=detail)
        if experts:
            wanted = wanted.model_copy(update={"experts": tuple(map(self.known_expert, experts))})
        return wanted if order is None else with_steps(wanted, order)

    def known_expert(self, name: str) -> str:
        """The current name of an expert, which may be followed by a path. Raises `UnknownExpert`."""
        expert = expert_of(name)
        return f"{self.experts.catalogue.card(expert).name}{name[len(expert) :]}"

    def files(self, *, folders: bool = False, absolute: bool = False) -> list[str]:
        """Completions of a path: readable images, or folders with images; relative to the folder or absolute."""
        found = dict[str, None]()
        for root in self.settings.allowed:
            for path in photos_below(root):
                wanted = path.parent if folders else path
                found[str(wanted if absolute else wanted.relative_to(root))] = None
        return sorted(name for name in found if printable(name) == name)  # others cannot be given in JSON

    def require_room(self, width: int, height: int) -> None:
        """Raise `TooMuchAsked` for a result of more pixels than the limit, `ResourceError` for a full disk."""
        self.require_pixels(width, height)
        for folder in (self.settings.output, self.settings.runs):
            require_space(folder, self.settings.free_bytes)

    def require_pixels(self, width: int, height: int) -> None:
        """Raise `TooMuchAsked` for a result of more pixels than the limit."""
        limit = self.settings.max_output_pixels
        if width * height > limit:
            raise TooMuchAsked(
                f"a result of {width}x{height} pixels is more than this server's limit of {limit}",
                "ask for a smaller size",
            )

    def store_result(
        self,
        image: Image,
        name: str,
        photo: str,
        token: ProgressToken,
        output: str | None = None,
        candidate: CandidateOf | None = None,
    ) -> tuple[str, Picture]:
        """Save a result in the workspace and the output folder; its path, and the picture. `candidate`: its step."""
        handle = self.workspace.store_image(image, candidate, photo, token)
        file = self.save(image, name, output, token)
        return file, Picture(handle=handle, width=image.width, height=image.height)

    def new_output(self, name: str, output: str | None = None, size: tuple[int, int] | None = None) -> Path:
        """A path in the output folder that does not exist yet: name.png, name_2.png, ...

        `output`: a name or a path below the output folder, a format, or a name with the suffix of a format. `size`:
        width and height of the result. Raises `RequestError` for a path outside that folder, and `OutputError` for
        one that cannot be written.
        """
        path = next(path for path in self._namesakes(name, output) if not os.path.lexists(path))
        check_output(path, overwrite=False, size=size)
        return path

    def _namesakes(self, name: str, output: str | None) -> Iterator[Path]:
        base = self._wanted_output(name, output)
        for number in range(1, MOST_NAMESAKES):
            yield base.with_name(f"{base.stem}_{number}{base.suffix}") if number > 1 else base
        raise OutputExists(f"{base.parent} is full of files called {base.stem}", "move some of them away")

    def _wanted_output(self, name: str, output: str | None) -> Path:
        folder, wanted = self.settings.output, (output or "").strip()
        name = name.encode("utf-8", "replace")[:MOST_NAME].decode("utf-8", "ignore")
        if not wanted or (suffix := SUFFIXES.get(wanted.lower().lstrip(".").replace("jpg", "jpeg"))):
            return folder / f"{name}{suffix if wanted else '.png'}"
        path = with_home(wanted)
        if wanted.endswith(("/", os.sep)):
            path /= f"{name}.png"
        if path.name and path.suffix.lower() not in FORMAT_OF:
            path = path.with_name(f"{path.name}.png")
        try:
            is_inside = (folder / path).resolve().is_relative_to(folder.resolve())
        except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a NUL
            is_inside = False
        if not is_inside or not path.name or len(path.name) > MOST_NAME:
            raise RequestError(
                f"{wanted[:200]!r} is not in the output folder {folder}", "give a name, or a path below that folder"
            )
        return folder / path

    def save(self, image: Image, name: str, output: str | None = None, token: ProgressToken | None = None) -> str:
        """Save an image in the output folder and return its path, or that of a namesake with the same bytes."""
        file = self.new_output(name, output)
        temporary = file.with_name(f".{secrets.token_hex(6)}{file.suffix}")
        try:
            write_image(image, temporary, token=token)
            path = next(
                path
                for path in self._namesakes(name, output)
                if not os.path.lexists(path) or (path.is_file() and filecmp.cmp(temporary, path, shallow=False))
            )
            if not os.path.lexists(path):
                rename_new(temporary, path)
            return str(path)
        except OSError as error:
            raise OutputError(f"{file} cannot be written: {error.strerror}", FREE_IT) from error
        finally:
            temporary.unlink(missing_ok=True)
