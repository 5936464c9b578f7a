"""Each picture of a run is looked at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from agent import judging
from agent.run import restore_file
from agent.search import search_state
from agent.state import KEEP_INPUT
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.writing import write_image
from iqa.crops import Box
from iqa.features import ImageFeatures, extract_features
from profiles.loading import load_profile
from toolbox.pool import ExpertPool
from training.data.degradations import gaussian_noise


def test_a_run_extracts_features_once_of_its_input_and_at_every_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[tuple[Box, ...] | None]()

    def counted(
        image: Image, crops: tuple[Box, ...] | None = None, models: ExpertPool | None = None
    ) -> ImageFeatures:
        looked.append(crops)
        return extract_features(image, crops, models)

    monkeypatch.setattr(judging, "extract_features", counted)
    monkeypatch.setattr(search_state, "extract_features", counted)
    photo = to_float(skimage.data.coffee()[:128, 200:328])
    write_image(Image(from_numpy(gaussian_noise(photo, np.random.default_rng(0), 30))), tmp_path / "noisy.png")
    profile = load_profile("default").model_copy(update={"scale_factor": 2, "face_restore": False})
    run = restore_file(tmp_path / "noisy.png", tmp_path / "out.png", profile, runs=tmp_path / "runs")
    judged = [one for node in run.state.nodes for one in node.verdicts if one.expert != KEEP_INPUT and not one.error]
    assert len(run.path_taken()) > 2
    assert len(looked) == 1 + len(judged)
    assert len(set(looked)) == 1
