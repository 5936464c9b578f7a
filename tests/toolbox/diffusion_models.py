"""Small diffusion models with random weights, in the file layout of their publishers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, PNDMScheduler, UNet2DConditionModel
from torch.nn import Module
from transformers import CLIPTextConfig, CLIPTextModel

from imaging.image import Image
from toolbox.card import ExpertCard
from toolbox.catalogue import default_catalogue

BASE, UPSCALER = "stable-diffusion-2-1-base", "stable-diffusion-x4-upscaler"
ONE_STEP = ["osediff", "osediff_2x", "osediff_16x", "pisasr", "pisasr_2x", "pisasr_16x"]
EXPERTS = [*ONE_STEP, "sd_x4_upscaler"]
TILES = {2: (32, 32, 32), 4: (16, 16, 16), 16: (16, 4, 4)}
"""As small as the grid of each scale allows."""


WORDS = 16
"""Width of the text embeddings."""


def write_base(folder: Path) -> None:
    """Stable Diffusion 2.1-base as published: half precision, a PNDM scheduler."""
    torch.manual_seed(1)
    _save(_unet(in_channels=4), folder / "unet")
    _save(_vae(blocks=4), folder / "vae")
    _write_words(folder)
    PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )


def write_upscaler(folder: Path) -> None:
    """The Stable Diffusion x4 upscaler as published: three image channels beside the latents, 4x decoding."""
    torch.manual_seed(2)
    _save(_unet(in_channels=7, num_class_embeds=1000), folder / "unet")
    _save(_vae(blocks=3, scaling_factor=0.08333), folder / "vae")
    _write_words(folder)
    DDIMScheduler(prediction_type="v_prediction").save_pretrained(folder / "scheduler")
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(folder / "low_res_scheduler")


def write_osediff(file: Path, base: Path, rank: int = 4) -> None:
    """The file of OSEDiff's training: three adapters and the first convolution of the UNet, one VAE adapter."""
    unet = UNet2DConditionModel.from_pretrained(base / "unet", variant="fp16")
    vae = AutoencoderKL.from_pretrained(base / "vae", variant="fp16")
    content = {
        "vae_lora_encoder_modules": [name for name in _layers(vae) if name.startswith("encoder")],
        "unet_lora_encoder_modules": [name for name in _layers(unet) if name.startswith("down")],
        "unet_lora_decoder_modules": [name for name in _layers(unet) if name.startswith("up")],
        "unet_lora_others_modules": ["mid_block.resnets.0.conv1", "conv_out"],
        "rank_unet": rank,
        "rank_vae": rank,
    }
    torch.manual_seed(3)
    kinds = {"encoder": "unet_lora_encoder_modules", "decoder": "unet_lora_decoder_modules"}
    kinds["others"] = "unet_lora_others_modules"
    first = {f"conv_in.{name}": 1.1 * weight for name, weight in unet.conv_in.named_parameters()}
    changes = [_lora(unet, content[modules], f"default_{kind}", rank) for kind, modules in kinds.items()]
    content["state_dict_unet"] = first | changes[0] | changes[1] | changes[2]
    content["state_dict_vae"] = _lora(vae, content["vae_lora_encoder_modules"], "default_encoder", rank)
    torch.save(content, file)


def write_pisasr(file: Path, base: Path, rank: int = 4) -> None:
    """The file of PiSA-SR's training: two adapters for every layer of the UNet, for pixels and for semantics."""
    unet = UNet2DConditionModel.from_pretrained(base / "unet", variant="fp16")
    torch.manual_seed(4)
    state: dict[str, torch.Tensor] = {}
    content: dict[str, object] = {"state_dict_unet": state}
    for level in ("pix", "sem"):
        for kind, start in (("encoder", "down"), ("decoder", "up")):
            modules = [name for name in _layers(unet) if name.startswith(start)]
            content[f"unet_lora_{kind}_modules_{level}"] = modules
            state |= _lora(unet, modules, f"default_{kind}_{level}", rank)
        content[f"lora_rank_unet_{level}"] = rank
    torch.save(content, file)


def _unet(in_channels: int, num_class_embeds: int | None = None) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WORDS,
        attention_head_dim=4,
        use_linear_projection=True,
        num_class_embeds=num_class_embeds,
    )


def _vae(blocks: int, scaling_factor: float = 0.18215) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=scaling_factor,
    )


def _write_words(folder: Path) -> None:
    """A tokenizer of letters and an encoder with two layers."""
    letters = [*map(chr, range(ord("!"), ord("~") + 1))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir(parents=True)
    tables = {
        "vocab.json": {word: number for number, word in enumerate(words)},
        "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "!"},
        "special_tokens_map.json": {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "!"},
    }
    for name, table in tables.items():
        (folder / "tokenizer" / name).write_text(json.dumps(table))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    _save(
        CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=WORDS,
                intermediate_size=WORDS,
                num_hidden_layers=2,
                num_attention_heads=2,
                bos_token_id=len(words) - 2,
                eos_token_id=len(words) - 1,
                pad_token_id=0,
            )
        ),
        folder / "text_encoder",
    )


def _save(network: Module, folder: Path) -> None:
    network.half().save_pretrained(folder, variant="fp16", safe_serialization=True)


def _layers(network: Module) -> list[str]:
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    return [name for name, module in network.named_modules() if isinstance(module, kinds) and "time" not in name]


def _lora(network: Module, modules: Iterable[str], adapter: str, rank: int) -> dict[str, torch.Tensor]:
    state = {}
    for name in modules:
        weight = network.get_parameter(f"{name}.weight")
        state[f"{name}.lora_A.{adapter}.weight"] = 0.1 * torch.randn(rank, *weight.shape[1:])
        state[f"{name}.lora_B.{adapter}.weight"] = 0.1 * torch.randn(
            len(weight), rank, *(1 for _ in weight.shape[2:])
        )
    return state


def card(name: str, **changes: Any) -> ExpertCard:
    found = default_catalogue().card(name)
    tile, halo, multiple_of = TILES[found.scale]
    options = {"num_inference_steps": 3, "noise_level": 20} if found.slow else {}
    small = {"tile": tile, "halo": halo, "multiple_of": multiple_of, "options": options}
    return found.model_copy(update=small | changes)


def picture(height: int, width: int) -> Image:
    return Image(torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)))
