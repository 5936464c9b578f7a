"""Diffusion experts with their real cards, and small random models in the file layout of their publishers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from imaging.errors import Cancelled, ResourceError
from imaging.image import Image
from imaging.progress import ProgressToken
from tests.toolbox.diffusion_models import (
    EXPERTS,
    ONE_STEP,
    card,
    picture,
)
from toolbox.availability import availability
from toolbox.card import ExpertCard
from toolbox.catalogue import default_catalogue
from toolbox.diffusion import DiffusionExpert, load_diffusion
from toolbox.errors import ExpertError, WeightsError
from toolbox.expert import load_expert, run_expert
from toolbox.lora import ALPHA, add_lora
from toolbox.pool import ExpertPool
from toolbox.store import ModelStore


@pytest.mark.parametrize("name", EXPERTS)
def test_an_expert_is_loaded_from_a_published_folder_and_upscales_in_tiles(name: str, published: ModelStore) -> None:
    assert availability(card(name), published).state == "ready"
    expert = load_expert(card(name), published)
    image = picture(*{2: (33, 130), 4: (17, 60), 16: (5, 40)}[expert.card.scale])
    seen: list[float] = []
    result = run_expert(expert, image, ProgressToken(seen.append))
    assert (result.height, result.width) == (image.height * expert.card.scale, image.width * expert.card.scale)
    assert len(set(seen)) > 2, "more than one tile"
    assert float(result.pixels.std()) > 0.01


@pytest.mark.parametrize("name", ["osediff", "pisasr", "sd_x4_upscaler"])
def test_results_do_not_depend_on_the_global_random_state(name: str, published: ModelStore) -> None:
    image = picture(16, 24)
    torch.manual_seed(1)
    first = run_expert(load_expert(card(name), published), image, ProgressToken())
    torch.manual_seed(2)
    drawn = torch.rand(3)
    torch.manual_seed(2)
    again = run_expert(load_expert(card(name), published), image, ProgressToken())
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(torch.rand(3), drawn), "the noise of others is left alone"


def test_the_tile_of_a_card_is_512_pixels_and_aligned_to_the_latents() -> None:
    for name in EXPERTS:
        found = default_catalogue().card(name)
        assert (found.tile + 2 * found.halo) * found.scale == 512
        assert all(side * found.scale % 64 == 0 for side in (found.multiple_of, found.tile, found.halo))


def test_one_step_is_the_equation_of_osediff(published: ModelStore) -> None:
    """z0 = (z - sqrt(1 - a) e) / sqrt(a) with a of step 999 of Stable Diffusion's scaled linear schedule."""
    expert = load_diffusion(card("osediff"), published)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    a = float((1 - betas).prod())
    latents, noise = torch.rand(2, 1, 4, 8, 8).unbind()
    method: Any = expert.method
    assert torch.allclose(method.clean(latents, noise), (latents - (1 - a) ** 0.5 * noise) / a**0.5, atol=1e-3)


def test_lora_weights_are_merged() -> None:
    """Compared with a layer that runs its low-rank path in parallel, as in peft."""
    torch.manual_seed(1)
    network = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(3, 5, 3), "flat": torch.nn.Linear(6, 7)})
    state = {
        "conv.lora_A.default.weight": torch.randn(4, 3, 3, 3),
        "conv.lora_B.default.weight": torch.randn(5, 4, 1, 1),
        "flat.lora_A.one.weight": torch.randn(2, 6),
        "flat.lora_B.one.weight": torch.randn(7, 2),
        "flat.lora_A.two.weight": torch.randn(4, 6),
        "flat.lora_B.two.weight": torch.randn(7, 4),
        "conv.base_layer.bias": torch.randn(5),
    }
    pixels, row = torch.randn(1, 3, 9, 9), torch.randn(1, 6)
    conv = torch.nn.functional.conv2d
    down = conv(pixels, state["conv.lora_A.default.weight"])
    wanted = conv(pixels, network["conv"].weight, state["conv.base_layer.bias"])
    wanted = wanted + ALPHA / 4 * conv(down, state["conv.lora_B.default.weight"])
    flat = network["flat"](row)
    for name, rank in (("one", 2), ("two", 4)):
        low = row @ state[f"flat.lora_A.{name}.weight"].T @ state[f"flat.lora_B.{name}.weight"].T
        flat = flat + ALPHA / rank * low
    add_lora(network, state, "test")
    assert torch.allclose(network["conv"](pixels), wanted, atol=1e-4)
    assert torch.allclose(network["flat"](row), flat, atol=1e-4)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"gone.lora_A.a.weight": torch.zeros(4, 3), "gone.lora_B.a.weight": torch.zeros(5, 4)}, "another base"),
        ({"flat.lora_A.a.weight": torch.zeros(4, 3), "flat.lora_B.a.weight": torch.zeros(5, 4)}, "another base"),
        ({"flat.lora_A.a.weight": torch.zeros(4, 6), "flat.lora_B.a.weight": torch.zeros(7, 5)}, "do not match"),
        ({"flat.lora_A.a.weight": torch.zeros(4, 6)}, "one half"),
        ({"conv_in.weight": torch.zeros(3)}, "another base"),
    ],
)
def test_lora_weights_of_another_shape_are_refused(state: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        add_lora(torch.nn.ModuleDict({"flat": torch.nn.Linear(6, 7)}), state, "odd.pkl")


def test_both_lora_files_change_the_output(published: ModelStore) -> None:
    image = picture(16, 16)
    results = [
        run_expert(load_expert(card(name), published), image, ProgressToken()).pixels for name in ONE_STEP[::3]
    ]
    assert float((results[0] - results[1]).abs().mean()) > 1e-3


def test_the_colours_are_those_of_the_input(published: ModelStore) -> None:
    red = Image(torch.tensor([0.8, 0.2, 0.1])[:, None, None].expand(3, 16, 16).contiguous())
    result = run_expert(load_expert(card("osediff"), published), red, ProgressToken()).pixels
    assert torch.allclose(result.mean((1, 2)), torch.tensor([0.8, 0.2, 0.1]), atol=0.1)


def test_a_small_image_is_upsampled_to_the_training_size(published: ModelStore) -> None:
    expert = load_diffusion(card("osediff"), published)
    sides: list[int] = []
    method: Any = expert.method
    encode = method.vae.encode
    method.vae.encode = lambda pixels: sides.append(min(pixels.shape[-2:])) or encode(pixels)
    assert run_expert(expert, picture(6, 9), ProgressToken()).width == 36
    assert min(sides) >= method.least_side == 64


@pytest.mark.parametrize(("name", "after"), [("osediff", 0.2), ("sd_x4_upscaler", 0.0)])
def test_a_diffusion_expert_is_cancelled_between_tiles_and_between_steps(
    name: str, after: float, published: ModelStore
) -> None:
    cancelled = threading.Event()
    token = ProgressToken(lambda done: cancelled.set() if done >= after else None, cancelled)
    with pytest.raises(Cancelled):
        run_expert(load_expert(card(name), published), picture(20, 50), token)


def test_half_precision_is_close_to_float32(published: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates a GPU on the CPU."""
    image = picture(16, 24)
    for name in ("osediff", "pisasr", "sd_x4_upscaler"):
        exact = run_expert(load_expert(card(name), published), image, ProgressToken())
        with monkeypatch.context() as changed:
            changed.setattr("toolbox.diffusion._device_and_dtype", lambda card: (torch.device("cpu"), torch.float16))
            expert = load_expert(card(name), published)
        method: Any = expert.method  # type: ignore[attr-defined]
        assert method.prompt.dtype is torch.float16
        half = run_expert(expert, image, ProgressToken())
        assert float((half.pixels - exact.pixels).abs().mean()) < 0.01


def test_a_diffusion_expert_retries_with_smaller_tiles(published: ModelStore) -> None:
    expert = load_diffusion(card("osediff", tile=96), published)
    method: Any = expert.method
    decode = method.vae.decode

    def small(latents: torch.Tensor) -> Any:
        if latents.shape[-1] > 48:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents)

    method.vae.decode = small
    assert run_expert(expert, picture(20, 120), ProgressToken()).width == 480


def test_a_device_without_enough_memory_for_the_model_is_reported(
    published: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(card: ExpertCard) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("toolbox.diffusion._device_and_dtype", full)
    with pytest.raises(ResourceError, match="memory"):
        load_expert(card("osediff"), published)


def test_the_pool_counts_and_releases_the_weights(published: ModelStore) -> None:
    pool = ExpertPool(store=published, budget_bytes=1)
    size = int(pool.get("osediff").weight_bytes)  # type: ignore[attr-defined]
    assert pool.weight_bytes() == size > 100_000
    pool.get("pisasr")
    assert pool.loaded() == ("pisasr",)


@pytest.mark.parametrize("name", ["osediff", "sd_x4_upscaler"])
def test_no_network_access_is_needed(name: str, published: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *more, **options: asked.append(host) or [])
    load_expert(card(name), published)
    assert asked == []


def test_any_error_of_a_pipeline_is_an_expert_error(published: ModelStore) -> None:
    expert = load_diffusion(card("sd_x4_upscaler", options={"no_such_option": 1}), published)
    assert isinstance(expert, DiffusionExpert)
    with pytest.raises(ExpertError, match="no_such_option"):
        run_expert(expert, picture(16, 16), ProgressToken())
