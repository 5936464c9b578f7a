"""The networks that are run on the features of an image belong to the pool that is given with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imaging.convert import FloatArray
from imaging.image import Image
from iqa.degradations import estimates_from, removed_rain_255
from iqa.features import extract_features
from toolbox.catalogue import Catalogue
from toolbox.pool import ExpertPool

Picture = Callable[[FloatArray], Image]


def test_networks_are_held_by_the_given_pool(photos: dict[str, FloatArray], picture: Picture) -> None:
    pool = ExpertPool(Catalogue(()))
    features = extract_features(picture(photos["coffee"]), models=pool)
    estimates_from(features)
    assert pool.loaded() == ("iqa/degradations.safetensors",)
    size = pool.weight_bytes()
    removed_rain_255(features)
    assert "iqa/restore4k_derain" in pool.loaded()
    assert pool.weight_bytes() > size > 0


def test_the_network_is_run_once_for_the_same_features(picture: Picture) -> None:
    features = extract_features(picture(np.zeros((40, 40, 3), np.float32)), models=ExpertPool(Catalogue(())))
    assert features.network_output is features.network_output
