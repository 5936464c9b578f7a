"""`run_expert` returns a result that matches the card, or raises an error that names the expert."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imaging.convert import FloatArray
from imaging.errors import Cancelled, ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from toolbox.card import ClassicalCard
from toolbox.errors import ExpertError
from toolbox.expert import ClassicalExpert, ClassicalFunction, PreprocessedExpert, run_expert


def expert(function: ClassicalFunction, scale: int = 1) -> ClassicalExpert:
    task = "denoising" if scale == 1 else "super_resolution"
    card = {"name": "mine", "task": task, "scale": scale, "loader": "classical", "function": "a:b"}
    return ClassicalExpert(ClassicalCard.model_validate(card | {"about": "", "source": ""}), function)


@pytest.fixture
def image() -> Image:
    return Image(torch.rand(3, 20, 30), alpha=torch.rand(1, 20, 30), icc_profile=b"profile", bit_depth=16)


def test_metadata_is_kept(image: Image) -> None:
    result = run_expert(expert(lambda pixels, _: pixels * np.float32(0.5)), image, ProgressToken())
    assert torch.allclose(result.pixels, image.pixels * 0.5)
    assert (result.icc_profile, result.bit_depth) == (b"profile", 16)
    assert result.alpha is image.alpha


def test_a_network_runs_after_its_preprocessor(image: Image) -> None:
    first = expert(lambda pixels, _: pixels * np.float32(0.5))
    second = expert(lambda pixels, _: pixels + np.float32(0.25))
    shares: list[float] = []
    result = run_expert(
        PreprocessedExpert(first.card, first, second), image, ProgressToken(on_progress=shares.append)
    )
    assert torch.allclose(result.pixels, image.pixels * 0.5 + 0.25)
    assert shares == [0.0, 0.5]


def test_the_network_is_skipped_where_the_preprocessor_changes_nothing(image: Image) -> None:
    first = expert(lambda pixels, _: pixels)
    second = expert(lambda pixels, _: pixels * np.float32(0.5))
    assert torch.equal(
        run_expert(PreprocessedExpert(first.card, first, second), image, ProgressToken()).pixels, image.pixels
    )


def test_values_out_of_range_are_clamped(image: Image) -> None:
    result = run_expert(expert(lambda pixels, _: pixels * 4 - 1), image, ProgressToken())
    assert float(result.pixels.min()) == 0
    assert float(result.pixels.max()) == 1


def test_alpha_is_upscaled_with_the_image(image: Image) -> None:
    result = run_expert(expert(lambda pixels, _: pixels.repeat(2, 0).repeat(2, 1), scale=2), image, ProgressToken())
    assert result.alpha is not None
    assert result.alpha.shape == (1, 40, 60)


@pytest.mark.parametrize(
    ("function", "scale"),
    [
        (lambda pixels, _: pixels[:-1], 1),
        (lambda pixels, _: pixels.transpose(1, 0, 2), 1),
        (lambda pixels, _: pixels, 2),
        (lambda pixels, _: pixels.repeat(4, 0).repeat(4, 1), 2),
    ],
)
def test_a_result_of_another_size_is_an_error(image: Image, function: ClassicalFunction, scale: int) -> None:
    with pytest.raises(ExpertError, match=r"mine returned .* for 30x20"):
        run_expert(expert(function, scale), image, ProgressToken())


def test_pixels_that_are_not_finite_are_an_error(image: Image) -> None:
    def broken(pixels: FloatArray, _: ProgressToken) -> FloatArray:
        pixels[3, 3, 1] = np.nan
        return pixels

    with pytest.raises(ExpertError, match="mine returned pixels that are not finite"):
        run_expert(expert(broken), image, ProgressToken())


@pytest.mark.parametrize("error", [ValueError("inner"), ZeroDivisionError("inner"), MemoryError("inner")])
def test_any_exception_of_an_expert_is_an_expert_error(image: Image, error: Exception) -> None:
    def broken(pixels: FloatArray, _: ProgressToken) -> FloatArray:
        raise error

    with pytest.raises(ExpertError, match="mine failed on 30x20: inner") as caught:
        run_expert(expert(broken), image, ProgressToken())
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [Cancelled(), ResourceError("no memory"), KeyboardInterrupt()])
def test_cancelled_and_resource_errors_propagate(image: Image, error: BaseException) -> None:
    def stopped(pixels: FloatArray, _: ProgressToken) -> FloatArray:
        raise error

    with pytest.raises(type(error)):
        run_expert(expert(stopped), image, ProgressToken())


def test_an_expert_cannot_change_its_input(image: Image) -> None:
    before = image.pixels.clone()

    def in_place(pixels: FloatArray, _: ProgressToken) -> FloatArray:
        pixels *= 0
        return pixels

    run_expert(expert(in_place), image, ProgressToken())
    assert torch.equal(image.pixels, before)
