"""Photos, the held-out ones among them, and batches of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from imaging.convert import to_float
from toolbox.tasks import Degradation
from training.data.loading import Patches, load_photo, load_photos, photo_files, random_patch, split
from training.data.pairs import degrader, kinds
from training.data.photos import photos as photos_of_a_fit


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        photo_files(tmp_path)


def test_no_photo_is_both_trained_on_and_held_out(photos: Path) -> None:
    training, held_out = split(photo_files(photos))
    assert held_out
    assert training
    assert not set(training) & set(held_out)


def test_the_same_photos_are_held_out_every_time(photos: Path) -> None:
    assert split(photo_files(photos)) == split(photo_files(photos))


def test_a_crop_of_a_held_out_photo_is_not_trained_on() -> None:
    files = [Path(f"{number:02}.png") for number in range(20)]
    crops = [Path(f"faces/{file.stem}_face.png") for file in files]
    training, held_out = split(files + crops)
    held_out_numbers = {file.stem[:2] for file in held_out}
    assert not held_out_numbers & {file.stem[:2] for file in training}


def test_exactly_the_folder_named_held_out_is_held_out(tmp_path: Path) -> None:
    files = [tmp_path / f"photo/{number:02}.png" for number in range(20)]
    marked = [tmp_path / f"photo/held_out/{name}.png" for name in ("40", "03_crop")]
    training, held_out = split([*files, *marked])
    assert held_out == marked
    assert set(files) - set(training) == {tmp_path / "photo/03.png"}


def test_cached_photos_are_those_of_the_files(photos: Path, tmp_path: Path) -> None:
    files = photo_files(photos)
    for _ in range(2):
        for file, pixels in zip(files, load_photos(files, tmp_path), strict=True):
            np.testing.assert_array_equal(pixels, load_photo(file))


def test_a_photo_smaller_than_the_patch_is_mirrored_at_its_border() -> None:
    photo = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    assert random_patch(photo, 48, np.random.default_rng(0)).shape == (48, 48, 3)


def test_a_batch_depends_on_its_seed_and_number_alone(photos: Path, tmp_path: Path) -> None:
    pixels = load_photos(photo_files(photos), tmp_path)
    patches = Patches(pixels, degrader("all", 1), patch=32, batch=2, seed=7)
    from_the_start = patches.batches(workers=3)
    third = [next(from_the_start) for _ in range(3)][2]
    resumed = next(patches.batches(first=2))
    assert torch.equal(third[0], resumed[0])
    assert torch.equal(third[1], resumed[1])


def test_an_error_in_a_data_thread_ends_the_training(photos: Path, tmp_path: Path) -> None:
    def broken(patch: object, rng: object) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError("no such patch")

    pixels = load_photos(photo_files(photos), tmp_path)
    with pytest.raises(ValueError, match="no such patch"):
        next(Patches(pixels, broken, patch=32, batch=2, seed=0).batches())


@pytest.mark.parametrize(
    ("name", "scale"), [("bicubic", 4), ("real", 4), ("real", 2), ("all", 1), ("face", 1), ("noise+rain", 1)]
)
def test_inputs_are_smaller_than_targets_by_the_scale(photos: Path, name: str, scale: int) -> None:
    patch = load_photo(photo_files(photos)[0])[:64, :64]
    for seed in range(8):
        degraded, target = degrader(name, scale)(patch, np.random.default_rng(seed))
        np.testing.assert_array_equal(target, to_float(patch))
        assert degraded.shape == (64 // scale, 64 // scale, 3)
        assert degraded.dtype == np.float32
        assert degraded.min() >= 0
        assert degraded.max() <= 1


def test_an_unknown_degradation_is_named() -> None:
    with pytest.raises(ValueError, match="fog"):
        degrader("fog", 1)


def test_everything_is_measured_kind_by_kind() -> None:
    same_size = {str(one) for one in Degradation} - {"low_resolution", "low_quality_face", "old_photo"}
    assert set(kinds("all", 1)) == same_size | {"mixture", "clean"}


def test_a_face_is_measured_degraded_and_clean(photos: Path) -> None:
    patch = load_photo(photo_files(photos)[0])[:99, :130]
    makers = kinds("face", 1)
    assert list(makers) == [str(Degradation.LOW_QUALITY_FACE), "clean"]
    harm = []
    for seed in range(20):
        degraded, target = makers["low_quality_face"](patch, np.random.default_rng(seed))
        assert degraded.shape == target.shape == (99, 130, 3)
        harm.append(-10 * np.log10(np.mean((degraded - target) ** 2)))
    assert 18 < min(harm) < 25 < max(harm) < 40
    clean, target = makers["clean"](patch, np.random.default_rng(0))
    np.testing.assert_array_equal(clean, target)


def test_fits_say_which_folder_they_expect(tmp_path: Path) -> None:
    (tmp_path / "photo").mkdir()
    with pytest.raises(SystemExit, match="photo"):
        photos_of_a_fit(tmp_path)
