"""The catalogue of experts, made from their cards; listing it loads neither libraries nor weights."""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.metadata import entry_points

from imaging.opening import read_small
from imaging.text import printable
from toolbox.aliases import current_expert
from toolbox.card import ExpertCard, read_card
from toolbox.errors import BadCard, DuplicateExpert, UnknownExpert
from toolbox.store import ModelStore
from toolbox.tasks import Task

MAX_CARD_BYTES = 1 << 20
log = logging.getLogger("restore4k")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Expert cards by name, in a fixed order."""

    cards: tuple[ExpertCard, ...] = ()
    problems: tuple[str, ...] = ()
    """Problems of card files that are left out of the catalogue."""

    def __iter__(self) -> Iterator[ExpertCard]:
        return iter(self.cards)

    def with_cards(self, cards: Iterable[ExpertCard]) -> Catalogue:
        """A new catalogue with these cards added. Raises `DuplicateExpert` if a name is taken."""
        merged = {card.name: card for card in self.cards}
        for card in cards:
            if card.name in merged:
                raise DuplicateExpert(f"two cards have the name {card.name!r}", "rename one of them")
            merged[card.name] = card
        return replace(self, cards=tuple(merged.values()))

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
    except (ValueError, RecursionError) as error:  # for deeply nested lists and very long numbers too
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

    A file that cannot be used is skipped with a warning.
    """
    catalogue = default_catalogue()
    for file in store.custom_cards():
        try:
            catalogue = catalogue.with_cards(parse_cards(read_small(file, MAX_CARD_BYTES).decode(), str(file)))
        except (BadCard, DuplicateExpert) as error:
            problem = error.message if str(file) in error.message else f"{file}: {error.message}"
        except (OSError, UnicodeDecodeError) as error:
            problem = f"{file} cannot be read: {error}"
        else:
            continue
        _warn_once(f"a card is skipped: {printable(problem)}; correct or delete the file")
        catalogue = replace(catalogue, problems=(*catalogue.problems, printable(problem)))
    return catalogue


@cache
def _warn_once(problem: str) -> None:
    """Log a problem, once in a process that makes the catalogue many times."""
    log.warning("%s", problem)
