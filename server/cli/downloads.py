"""Downloads of models and metrics, chosen by name or by profile, with their licences."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from agent.expert_choice import is_preferred
from imaging.errors import RestoreError
from iqa.published import PublishedMetric, missing_for, published_metrics
from profiles.loading import load_profile
from profiles.schema import Profile
from toolbox.availability import availability
from toolbox.card import DiffusionCard, ExpertCard
from toolbox.catalogue import catalogue_of
from toolbox.faces.models import FaceModel, face_models
from toolbox.model_bundles import ModelBundle, model_bundles
from toolbox.starter import STARTER, STARTER_SET
from toolbox.store import ModelStore, WeightFile
from toolbox.tasks import Task

METRIC, FACES, BASE = "metric", "faces", "base"
GROUPS = {"metrics": METRIC, "faces": FACES}
"""Names of groups of downloads."""


class Download(BaseModel):
    """The files of one name, and their purpose."""

    name: str
    purpose: str
    """The task with its scale; `metric`; `faces` for face detection, recognition and quality; `base` for base models
    of experts."""
    about: str
    licence: str
    commercial: str
    page: str = ""
    files: tuple[WeightFile, ...]
    base: tuple[WeightFile, ...] = ()
    """Files of a base model, which are pulled too; listed under their own name, as several experts may share them."""
    state: str
    advice: str

    @property
    def megabytes(self) -> str:
        """The size as text."""
        return size_in_words(self.files + self.base)

    def can_be_pulled(self, store: ModelStore) -> bool:
        """Whether all missing files can be downloaded automatically."""
        return all(file.urls or store.has(file.name) for file in self.files + self.base)


def size_in_words(files: Sequence[WeightFile]) -> str:
    """The published size of files as text."""
    known = sum(file.size or 0 for file in files)
    unknown = sum(file.size is None for file in files)
    if not known:
        return "size not published"
    return f"{known / 1e6:.0f} MB" + (f" and {unknown} of unpublished size" if unknown else "")


def downloads(store: ModelStore) -> list[Download]:
    """All downloads: experts, their base models, metrics, then face models."""
    found, bases = [], set()
    for card in catalogue_of(store):
        if card.files:
            state = availability(card, store)
            purpose = card.task.value if card.scale == 1 else f"{card.task.value} {card.scale}x"
            facts = card.model_dump(include={"name", "about", "commercial", "page"})
            if base := _base_of(card):
                bases.add(base.name)
            files = tuple(file for file in card.files if base is None or file not in base.files)
            status = {"state": state.state, "advice": state.advice, "licence": card.licences}
            found.append(Download(**facts, **status, purpose=purpose, files=files, base=base.files if base else ()))
    for bundle in model_bundles().values():
        if bundle.name not in bases:
            continue
        ready = all(store.has(file.name) for file in bundle.files)
        found.append(_listed(bundle, BASE, bundle.files, "" if ready else f"restore4k models pull {bundle.name}"))
    for metric in published_metrics().values():
        commercial = "no" if metric.non_commercial else "yes"
        found.append(_listed(metric, METRIC, (metric.file,), missing_for(metric, store), commercial=commercial))
    for model in face_models().values():
        advice = "" if store.has(model.file.name) else f"restore4k models pull {model.name}"
        found.append(_listed(model, FACES, (model.file,), advice))
    return found


def _base_of(card: ExpertCard) -> ModelBundle | None:
    """The base model that a card's own file modifies; None if it has none."""
    return model_bundles()[card.bundle] if isinstance(card, DiffusionCard) and card.file else None


def _listed(
    item: ModelBundle | FaceModel | PublishedMetric,
    purpose: str,
    files: tuple[WeightFile, ...],
    advice: str,
    commercial: str = "yes",
) -> Download:
    """A download that is not an expert; `advice` tells how to get it if it is missing."""
    facts = item.model_dump(include={"name", "about", "licence", "commercial", "page"})
    state = "can be pulled" if advice else "ready"
    return Download(**{"commercial": commercial, **facts}, purpose=purpose, files=files, state=state, advice=advice)


def choose(store: ModelStore, names: Iterable[str]) -> list[Download]:
    """The downloads with these names, each file once. Raises `RestoreError` for an unknown name or no name."""
    everything, chosen = downloads(store), dict[str, Download]()
    for name in names:
        found = [
            download
            for download in everything
            if name in ("all", download.name, download.files[0].name)
            or download.purpose == GROUPS.get(name)
            or (name == STARTER and download.name in STARTER_SET)
        ]
        if not found:
            near = difflib.get_close_matches(name, [download.name for download in everything], n=2)
            guess = f"did you mean {' or '.join(near)}? " if near else ""
            raise RestoreError(f"there is no download {name!r}", f"{guess}`restore4k models list` lists all")
        chosen.update({download.files[0].name: download for download in found})
    if not chosen:
        raise RestoreError(
            "no name was given", "give names of experts, metrics or files; `restore4k models list` lists them"
        )
    return list(chosen.values())


def choose_to_pull(store: ModelStore, names: Sequence[str]) -> list[Download]:
    """The downloads to fetch. Raises `RestoreError` for one that must be downloaded by hand."""
    chosen = choose(store, names)
    for download in chosen:
        if not download.can_be_pulled(store) and "all" not in names:
            raise RestoreError(f"{download.name} cannot be downloaded automatically", download.advice)
    return [download for download in chosen if download.can_be_pulled(store)]


def downloads_for_profile(store: ModelStore, name: str, non_commercial: bool = False) -> list[Download]:
    """The downloads that a run with the profile could use and that need not be downloaded by hand.

    Experts of its tasks and preference, metrics, and face models if it restores faces. `non_commercial`: also those
    that forbid commercial use, whatever the profile sets.
    """
    profile = load_profile(name)
    if non_commercial:
        profile = profile.model_copy(update={"non_commercial": True})
    useful = {card.name for card in catalogue_of(store) if _is_useful(card, profile)}
    chosen = [
        download
        for download in downloads(store)
        if download.can_be_pulled(store)
        and (profile.non_commercial or download.commercial != "no")
        and (
            download.purpose == METRIC
            or (download.purpose == FACES and profile.face_restore)
            or download.name in useful
        )
    ]
    return list({download.files[0].name: download for download in chosen}.values())


def _is_useful(card: ExpertCard, profile: Profile) -> bool:
    named = profile.plan or profile.restore_option
    wanted = card.task in named or card.task is Task.SUPER_RESOLUTION if named else profile.allows(card.task)
    return wanted and is_preferred(card, profile)


def require_accepted(store: ModelStore, chosen: Sequence[Download], accept: bool) -> None:
    """Record accepted licences that restrict use. Raises `RestoreError` for new ones without `accept`."""
    restricted = {download.licence: download for download in chosen if download.commercial != "yes"}
    unread = {licence: download for licence, download in restricted.items() if licence not in store.accepted()}
    if unread and not accept:
        restrictions = "; ".join(
            f"{licence} ({download.name} {download.page})".replace(" )", ")") for licence, download in unread.items()
        )
        raise RestoreError(
            f"these licences restrict use, mainly commercial use: {restrictions}", "read them, then add --accept"
        )
    for licence in unread:
        store.accept(licence)
