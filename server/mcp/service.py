"""State that all tools of a server share: folders, workspace, loaded experts and the queue of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from imaging.alpha import bleed_alpha
from imaging.disk import require_space
from imaging.errors import OutputExists
from imaging.image import Image
from imaging.reading import READABLE, read_image
from imaging.writing import write_image
from profiles.schema import Profile
from server.auth.access import Access
from server.auth.clients import Callers, current_client, settings_of
from server.errors import BadAddress, RequestError, TooMuchAsked
from server.mcp.fetching import Fetcher
from server.mcp.inputs import InputImage, decode_data
from server.mcp.jobs import Jobs
from server.mcp.roots import current_roots
from server.mcp.subscriptions import Subscriptions
from server.mcp.workspace import Workspace
from server.profile_options import choose_profile
from server.schemas import Picture
from server.settings import ServerSettings
from toolbox.catalogue import Catalogue
from toolbox.pool import ExpertPool
from toolbox.tasks import Task

MOST_NAMESAKES = 9999
MOST_LOOKED_AT = 5000
"""Maximum files of an allowed folder that completion inspects."""


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

    @classmethod
    def of(cls, settings: ServerSettings) -> _Place:
        workspace = Workspace(
            settings.workspace, settings.workspace_bytes, settings.workspace_days, settings.free_bytes
        )
        return cls(settings, Access((*settings.allowed, settings.output)), workspace)


class Service:
    """One server's parts. Its methods are plain functions for a worker thread.

    Settings, access and workspace are those of the client whose call is being answered.
    """

    def __init__(
        self,
        settings: ServerSettings,
        callers: Callers | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._callers = callers
        self._common = settings
        self._places = dict[str, _Place]()
        self._fetcher = fetcher or Fetcher(settings.max_bytes)
        self.experts = ExpertPool()
        self.jobs = Jobs(settings.max_seconds)
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
    def _place(self) -> _Place:
        name = current_client()
        if self._callers and not name:
            raise RequestError("authentication required", "send a token")
        if name not in self._places:
            own = settings_of(name, self._callers.folders(name), self._common) if self._callers else self._common
            self._places[name] = _Place.of(own)
        return self._places[name]

    @property
    def catalogue(self) -> Catalogue:
        """The cards of all experts."""
        return self.experts.catalogue

    def open(self, given: InputImage) -> Source:
        """Load the input image, and give it a handle.

        Raises `RequestError` and `ImageError`.
        """
        limits = self.settings.limits()
        if given.handle is not None:
            image, handle = self.workspace.load(given.handle, limits), given.handle
            file, name = self.workspace.path(handle), self.workspace.name(handle)
        elif given.path is not None:
            file = self.access.readable(given.path)
            image = bleed_alpha(read_image(file, limits))
            name = file.stem
            handle = self.workspace.keep_file(file.read_bytes(), name)
        else:
            data = self._fetched(given.url) if given.url is not None else decode_data(given.data or "")
            image = bleed_alpha(read_image(data, limits))
            handle = self.workspace.keep_file(data)
            file, name = self.workspace.path(handle), self.workspace.name(handle)
        return Source(image, Picture(handle=handle, width=image.width, height=image.height), file, name)

    def profile(
        self,
        name: str,
        *,
        scale: int | None = None,
        long_side: int | None = None,
        order: Sequence[Task] | None = None,
        max_seconds: float | None = None,
        max_expert_runs: int | None = None,
        experts: Sequence[str] | None = None,
    ) -> Profile:
        """Choose the profile, with the caller's plan and experts; a file must lie in an allowed folder.

        Raises `RestoreError` where there is no such profile or expert.
        """
        if name.endswith(".toml"):
            name = str(self.access.readable(name))
        wanted = choose_profile(
            name, scale=scale, long_side=long_side, max_seconds=max_seconds, max_expert_runs=max_expert_runs
        )
        if experts is not None:
            cards = [self.catalogue.card(expert) for expert in experts]
            wanted = wanted.model_copy(update={"experts": tuple(card.name for card in cards)})
        return wanted if order is None else wanted.model_copy(update={"plan": tuple(order), "restore_option": None})

    def files(self, *, folders: bool = False) -> list[str]:
        """Completions of a path: readable images, or folders with images, as relative paths."""
        found = dict[str, None]()
        for root in self.settings.allowed:
            for path in islice(root.glob("**/*"), MOST_LOOKED_AT):
                if path.suffix.lower() in READABLE and path.is_file():
                    found[str((path.parent if folders else path).relative_to(root))] = None
        return sorted(found)

    def require_room(self, width: int, height: int) -> None:
        """Raise `TooMuchAsked` for a result of more pixels than the limit, `ResourceError` for a full disk."""
        limit = self.settings.max_output_pixels
        if width * height > limit:
            raise TooMuchAsked(
                f"a result of {width}x{height} pixels is more than this server's limit of {limit}",
                "ask for a smaller scale or long side",
            )
        for folder in (self.settings.output, self.settings.runs):
            require_space(folder, self.settings.free_bytes)

    def _fetched(self, url: str) -> bytes:
        if not self.settings.urls:
            raise BadAddress(
                "this server does not fetch images from the web",
                "start it with --allow-urls to allow that, or give a path or `data`",
            )
        return self._fetcher.fetch(url)

    def new_output(self, name: str, suffix: str = ".png") -> Path:
        """A path in the output folder that does not exist yet: name.png, name_2.png, ..."""
        for number in range(1, MOST_NAMESAKES):
            path = self.settings.output / f"{name}{f'_{number}' if number > 1 else ''}{suffix}"
            if not path.exists():
                return path
        raise OutputExists(f"{self.settings.output} is full of files called {name}", "move some of them away")

    def save(self, image: Image, name: str) -> str:
        """Save an image in the output folder and return its path."""
        file = self.new_output(name)
        write_image(image, file)
        return str(file)
