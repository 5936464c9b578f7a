"""Missing, damaged and foreign files of diffusion experts: each is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.toolbox.diffusion_models import (
    BASE,
    EXPERTS,
    UPSCALER,
    card,
)
from tests.toolbox.test_published_forms import Foreign
from toolbox.availability import availability
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.expert import load_expert
from toolbox.store import ModelStore


def replace(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


@pytest.mark.parametrize("name", EXPERTS)
def test_without_diffusers_the_extra_is_named(
    name: str, published: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("diffusers", "transformers"):
        monkeypatch.setattr("toolbox.availability.find_spec", lambda asked, gone=library: asked != gone or None)
        state = availability(card(name), published)
        assert (state.state, state.advice) == ("needs extra", "pip install 'restore4k[diffusion]'")
    with pytest.raises(WeightsMissing, match=r"restore4k\[diffusion\]"):
        load_expert(card(name), published)


@pytest.mark.parametrize(
    ("name", "file", "state", "advice"),
    [
        ("osediff", "osediff.pkl", "can be pulled", "restore4k models pull osediff"),
        ("osediff", f"{BASE}/unet/config.json", "can be pulled", "restore4k models pull osediff"),
        ("pisasr", "pisa_sr.pkl", "by hand", "pisa_sr.pkl into"),
        ("pisasr", f"{BASE}/vae/config.json", "can be pulled", "restore4k models pull pisasr"),
        ("sd_x4_upscaler", f"{UPSCALER}/tokenizer/vocab.json", "can be pulled", "pull sd_x4_upscaler"),
    ],
)
def test_a_missing_file_is_reported(name: str, file: str, state: str, advice: str, store: ModelStore) -> None:
    store.path(file).unlink()
    found = availability(card(name), store)
    assert found.state == state
    assert advice in found.advice
    with pytest.raises(WeightsMissing) as caught:
        load_expert(card(name), store)
    assert advice in str(caught.value)


def test_files_to_download_by_hand_name_alternatives(tmp_path: Path) -> None:
    advice = availability(card("pisasr"), ModelStore(tmp_path)).advice
    assert advice.endswith("then restore4k models pull pisasr")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("osediff", f"{BASE}/unet/diffusion_pytorch_model.fp16.safetensors"),
        ("osediff", f"{BASE}/unet/config.json"),
        ("osediff", f"{BASE}/tokenizer/vocab.json"),
        ("osediff", "osediff.pkl"),
        ("sd_x4_upscaler", f"{UPSCALER}/scheduler/scheduler_config.json"),
    ],
)
def test_a_damaged_file_is_reported(name: str, file: str, store: ModelStore) -> None:
    replace(store.path(file), b"damaged")
    with pytest.raises(WeightsError, match=r"osediff|sd_x4_upscaler"):
        load_expert(card(name), store)


def test_a_lora_file_of_another_method_is_reported(store: ModelStore) -> None:
    replace(store.path("osediff.pkl"), store.path("pisa_sr.pkl").read_bytes())
    with pytest.raises(WeightsError, match="is for PiSA-SR, not for OSEDiff"):
        load_expert(card("osediff"), store)


def test_a_file_without_lora_weights_is_refused(store: ModelStore) -> None:
    store.path("osediff.pkl").unlink()
    torch.save({"state_dict_unet": {"epoch": 3}}, store.path("osediff.pkl"))
    with pytest.raises(WeightsError, match="contains no LoRA weights for the UNet"):
        load_expert(card("osediff"), store)


def test_another_base_model_is_reported(store: ModelStore) -> None:
    config = store.path(f"{BASE}/scheduler/scheduler_config.json")
    replace(config, config.read_bytes().replace(b'"epsilon"', b'"v_prediction"'))
    with pytest.raises(WeightsError, match="v_prediction"):
        load_expert(card("osediff"), store)


def test_foreign_code_in_a_file_is_not_run(store: ModelStore, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    store.path("osediff.pkl").unlink()
    torch.save({"state_dict_unet": {}, "more": Foreign(proof)}, store.path("osediff.pkl"))
    with pytest.raises(WeightsError, match=r"osediff\.pkl contains"):
        load_expert(card("osediff"), store)
    assert not proof.exists()


def test_a_pickled_base_is_not_read(store: ModelStore) -> None:
    """diffusers would take a .bin where there are no safetensors."""
    weights = store.path(f"{BASE}/unet/diffusion_pytorch_model.fp16.safetensors")
    torch.save({"conv_in.weight": torch.zeros(3)}, weights.with_suffix(".bin"))
    replace(weights, b"")
    with pytest.raises(WeightsError, match="osediff"):
        load_expert(card("osediff"), store)
