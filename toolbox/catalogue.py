"""The catalogue of experts, made from their cards; listing it loads neither libraries nor weights."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import entry_points

from toolbox.aliases import current_expert
from toolbox.card import ExpertCard, read_card
from toolbox.errors import BadCard, DuplicateExpert, UnknownExpert
from toolbox.store import ModelStore
from toolbox.tasks import Task


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Expert cards by name, in a fixed order."""

    cards: tuple[ExpertCard, ...] = ()

    def __iter__(self) -> Iterator[ExpertCard]:
        return iter(self.cards)

    def with_cards(self, cards: Iterable[ExpertCard]) -> Catalogue:
        """A new catalogue with these cards added. Raises `DuplicateExpert` if a name is taken."""
        merged = {card.name: card for card in self.cards}
        for card in cards:
            if card.name in merged:
                raise DuplicateExpert(f"two cards have the name {card.name!r}", "rename one of them")
            merged[card.name] = card
        return Catalogue(tuple(merged.values()))

    def card(self, name: str) -> ExpertCard:
        """The card with that name. Raises `UnknownExpert`, which suggests similar names."""
        name = current_expert(name)
        for card in self.cards:
            if card.name == name:
                return card
        near = difflib.get_close_matches(name, [card.name for card in self.cards], n=2)
        guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise UnknownExpert(f"unknown expert {name!r}", f"{guess}`restore4k experts` lists all {len(self.cards)}")

    def for_task(self, task: Task, scale: int = 1) -> tuple[ExpertCard, ...]:
        """The candidates for `task` at `scale`; experts that only serve as preprocessors are excluded."""
        return tuple(card for card in self.cards if card.task is task and card.scale == scale and card.standalone)


def parse_cards(toml: str, source: str) -> list[ExpertCard]:
    """The cards of one TOML text. Raises `BadCard`, which names `source`, the card and the wrong key."""
    try:
        tables = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise BadCard(f"{source} is not valid TOML: {error}") from error
    cards = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise BadCard(f"{source}: {name!r} is not a table", "write each expert as [name], with its keys below")
        try:
            cards.append(read_card(name, table))
        except BadCard as error:
            raise BadCard(f"{source}: {error.message}", error.hint) from error
    return cards


@cache
def default_catalogue() -> Catalogue:
    """The embedded cards, then those of other distributions (entry points `restore4k.experts`).

    An entry point is a function without arguments that returns cards, for example made by `read_card`.
    """
    catalogue = Catalogue()
    folder = resources.files("toolbox") / "cards"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            catalogue = catalogue.with_cards(parse_cards(file.read_text("utf-8"), file.name))
    for entry in entry_points(group="restore4k.experts"):
        catalogue = catalogue.with_cards(entry.load()())
    return catalogue


def catalogue_of(store: ModelStore) -> Catalogue:
    """The default catalogue plus the custom models, whose cards are in the folder `cards` of the store.

    Raises `BadCard` or `DuplicateExpert`, which name the file.
    """
    catalogue = default_catalogue()
    for file in store.custom_cards():
        try:
            catalogue = catalogue.with_cards(parse_cards(file.read_text("utf-8"), str(file)))
        except DuplicateExpert as error:
            raise DuplicateExpert(f"{file}: {error.message}", "rename your expert, or delete the file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise BadCard(f"{file} cannot be read: {error}") from error
    return catalogue
