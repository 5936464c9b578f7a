"""The mean of trainings is the mean of their weights, and says which trainings it is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.networks.model_soup import soup


def training_of(folder: Path, weight: float, name: str = "sr_x4", width: int = 3) -> Path:
    folder.mkdir()
    save_file({"w": torch.full((width,), weight).half()}, folder / f"{name}.safetensors")
    card = {"recipe": {"name": name, "patch": 96, "seed": 1}, "steps_done": 7, "training_photos": 5, "psnr_y": {}}
    (folder / f"{name}.json").write_text(json.dumps(card))
    return folder / f"{name}.safetensors"


def test_shares_weigh_the_trainings_and_stand_in_the_card(tmp_path: Path) -> None:
    files = [training_of(tmp_path / "a", 1.0), training_of(tmp_path / "b", 5.0)]
    file = soup(files, [1, 3], tmp_path / "mean")
    assert load_file(file)["w"].tolist() == [4.0] * 3
    card = json.loads(file.with_suffix(".json").read_text())
    assert [part["share"] for part in card["mean_of"]] == [0.25, 0.75]
    assert card["mean_of"][0]["recipe"] == {"patch": 96, "seed": 1}
    assert card["steps_done"] == 7


def test_a_mean_of_means_says_where_it_comes_from(tmp_path: Path) -> None:
    files = [training_of(tmp_path / "a", 1.0), training_of(tmp_path / "b", 5.0)]
    mean = soup(files, [1, 1], tmp_path / "mean")
    again = soup([mean, files[1]], [1, 1], tmp_path / "again")
    assert len(json.loads(again.with_suffix(".json").read_text())["mean_of"][0]["mean_of"]) == 2


@pytest.mark.parametrize(
    ("other", "shares"),
    [({"width": 4}, [1, 1]), ({"name": "sr_x2"}, [1, 1]), ({}, [1]), ({}, [1, -1])],
    ids=["another size", "another network", "a share missing", "a negative share"],
)
def test_networks_that_cannot_be_averaged_are_refused(
    other: dict[str, Any], shares: list[float], tmp_path: Path
) -> None:
    files = [training_of(tmp_path / "a", 1.0), training_of(tmp_path / "b", 5.0, **other)]
    with pytest.raises(ValueError, match=r"trainings of one|--shares"):
        soup(files, shares, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
