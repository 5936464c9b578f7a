"""The starter set: the few small downloads with the most effect on photos."""

from __future__ import annotations

from toolbox.catalogue import catalogue_of
from toolbox.faces.models import face_models
from toolbox.store import ModelStore

STARTER = "starter"
STARTER_SET = {
    "realesr_general_x4": "texture in the second enlargement to 4K, at the speed of the networks in the package",
    "realesrgan_x2": "texture in 2x enlargements",
    "scunet_psnr": "removes strong noise of any kind",
    "yunet": "finds smaller faces and faces at any angle; the detector in the package finds only upright ones",
    "sface": "recognises persons, so that face restoration keeps their identity",
}
"""Downloads that may be used commercially, and the gain of each."""
PULL_STARTER = f"restore4k models pull {STARTER}"


def missing_starters(store: ModelStore) -> dict[str, str]:
    """The downloads of the starter set that are not in the store, and the gain of each."""
    files = {card.name: card.files for card in catalogue_of(store)}
    files |= {name: (model.file,) for name, model in face_models().items()}
    return {name: gain for name, gain in STARTER_SET.items() if not all(store.has(file.name) for file in files[name])}
