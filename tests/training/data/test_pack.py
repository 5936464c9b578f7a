"""A pack is small, spread over the folders, and keeps apart what is trained on and what is measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from training.data.loading import central_patch, load_photo, photo_files, related, split
from training.data.measure import SIDE
from training.data.pack import pack, spread
from training.networks.train import train
from training.recipe import Recipe


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """photo/ with eight small photos and two large ones, face/ with four."""
    folder = tmp_path_factory.mktemp("data")
    shutil.copytree(photos, folder / "photo")
    (folder / "face").mkdir()
    face = Image.fromarray(data.astronaut()[:200, 140:340])
    for number in range(4):
        face.rotate(5 * number).save(folder / "face" / f"face{number}.png")
    Image.fromarray(data.astronaut()).save(folder / "photo" / "large.png")
    Image.fromarray(data.coffee()).save(folder / "photo" / "larger.png")
    return folder


def test_a_pack_is_no_larger_than_was_asked_for_and_spread_over_the_folders(folders: Path, tmp_path: Path) -> None:
    sizes = []
    for number, megabytes in enumerate((0.5, 1.0)):
        files = pack(folders, tmp_path / str(number), megabytes)
        assert sorted(files) == photo_files(tmp_path / str(number))
        assert {file.relative_to(tmp_path / str(number)).parts[0] for file in files} == {"photo", "face"}
        sizes.append(sum(file.stat().st_size for file in files) / 1e6)
    assert 0.3 < sizes[0] <= 0.5 < sizes[1] <= 1.0


def test_held_out_photos_and_faces_are_held_out_of_their_pack(folders: Path, tmp_path: Path) -> None:
    pack(folders, tmp_path / "pack", 1)
    held_out = {*split(photo_files(folders))[1], *split(photo_files(folders / "face"))[1]}
    training, in_pack = split(photo_files(tmp_path / "pack"))
    assert {file.stem for file in in_pack} == {file.stem for file in held_out}
    assert training
    assert not any(related(file, other) for file in training for other in held_out)
    assert split(photo_files(tmp_path / "pack" / "face"))[1]


def test_held_out_pictures_are_measured_on_the_same_pixels(folders: Path, tmp_path: Path) -> None:
    pack(folders, tmp_path / "pack", 1)
    for file in split(photo_files(tmp_path / "pack"))[1]:
        original = next(folders.rglob(f"{file.stem}.png"))
        np.testing.assert_array_equal(
            central_patch(load_photo(file), SIDE), central_patch(load_photo(original), SIDE)
        )


def test_photos_are_copied_as_they_are(folders: Path, tmp_path: Path) -> None:
    pack(folders, tmp_path / "pack", 1)
    training = split(photo_files(tmp_path / "pack"))[0]
    assert training
    for file in training:
        assert file.read_bytes() == (folders / file.relative_to(tmp_path / "pack")).read_bytes()


def test_the_same_seed_packs_the_same_bytes(folders: Path, tmp_path: Path) -> None:
    packs = [pack(folders, tmp_path / str(number), 0.6, seed) for number, seed in enumerate((1, 1, 2))]
    first, again, other = ([(file.stem, file.read_bytes()) for file in files] for files in packs)
    assert first == again != other


def test_every_beginning_of_the_selection_has_its_share_of_each_folder() -> None:
    files = [Path(f"photo/{number}.png") for number in range(80)] + [
        Path(f"face/{number}.png") for number in range(8)
    ]
    ordered = spread(files, seed=0)
    assert sorted(ordered) == sorted(files)
    assert ordered != files
    for length in (11, 33, 55):
        assert sum(file.parent.name == "face" for file in ordered[:length]) == pytest.approx(length / 11, abs=1)


def test_a_non_empty_folder_is_not_changed(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not empty"):
        pack(folders, tmp_path, 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_too_few_megabytes_are_named(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exceed"):
        pack(folders, tmp_path / "pack", 0.01)
    assert not (tmp_path / "pack").exists()


def test_a_network_is_trained_and_measured_on_a_pack(recipe: Recipe, folders: Path, tmp_path: Path) -> None:
    pack(folders, tmp_path / "pack", 1)
    for of in ("", "face"):
        run = tmp_path / f"run{of}"
        train(recipe.model_copy(update={"steps": 2, "photos": of}), tmp_path / "pack", run)
        assert "output_db" in (run / "log.jsonl").read_text()
