"""Each picture of a run is looked at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from agent import journal, judging
from agent.run import restore_file
from agent.state import KEEP_INPUT
from imaging.convert import from_numpy, to_float
from imaging.image import Image
from imaging.writing import write_image
from iqa.crops import Box
from iqa.seen import Seen, see
from profiles.loading import load_profile
from training.degradations import gaussian_noise


def test_a_run_looks_once_at_its_input_and_at_every_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[tuple[Box, ...] | None]()

    def counted(image: Image, crops: tuple[Box, ...] | None = None) -> Seen:
        looked.append(crops)
        return see(image, crops)

    monkeypatch.setattr(judging, "see", counted)
    monkeypatch.setattr(journal, "see", counted)
    photo = to_float(skimage.data.coffee()[:128, 200:328])
    write_image(Image(from_numpy(gaussian_noise(photo, np.random.default_rng(0), 30))), tmp_path / "noisy.png")
    profile = load_profile("default").model_copy(update={"scale_factor": 2, "face_restore": False})
    run = restore_file(tmp_path / "noisy.png", tmp_path / "out.png", profile, runs=tmp_path / "runs")
    made = [one for node in run.state.nodes for one in node.verdicts if one.expert != KEEP_INPUT and not one.error]
    assert len(run.path_taken()) > 2
    assert len(looked) == 1 + len(made)
    assert len(set(looked)) == 1
