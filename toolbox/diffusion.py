"""Diffusion experts: models loaded by diffusers, run over images tile by tile.

OSEDiff and PiSA-SR fine-tune Stable Diffusion 2.1 by LoRA, so that one step restores an image that was upsampled
before; the equations are those of their papers. Multi-step methods use the pipelines of diffusers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from imaging.colour import align_low_frequencies
from imaging.device import best_device
from imaging.errors import ResourceError, RestoreError
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.resizing import resize
from imaging.tiling import run_tiled
from toolbox.availability import availability
from toolbox.card import DiffusionCard
from toolbox.checkpoint import read_content
from toolbox.errors import WeightsError, WeightsMissing
from toolbox.lora import adapters, add_lora
from toolbox.store import ModelStore

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PROMPT = ""
"""Empty, so that a wrong description of the image cannot add content."""
COARSE_SIDE = 8
"""Side of the low-resolution grid on which the colours of a tile are aligned with its input."""
LAST_STEP, FIRST_STEP = 999, 1


class Method(Protocol):
    """Upsamples one tile."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of its models."""
        ...

    @property
    def least_side(self) -> int:
        """Minimum of the shorter side of a result: the size of the training images; 0: no minimum."""
        ...

    def __call__(self, tile: Tensor, token: ProgressToken) -> Tensor:
        """(1, 3, h, w) in [0, 1] on the CPU -> (1, 3, h * scale, w * scale) in about [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class DiffusionExpert:
    """A method with its models on their device."""

    card: DiffusionCard
    method: Method

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of its models."""
        return self.method.weight_bytes

    def __call__(self, image: Image, token: ProgressToken) -> Image:
        """Upsample the image; one that is too small for the model is enlarged first, and its result reduced."""
        import torch

        scale, pixels = self.card.scale, image.pixels
        grow = self.method.least_side / (scale * min(image.height, image.width))
        if grow > 1:
            pixels = resize(pixels, round(image.height * grow), round(image.width * grow))
        with torch.inference_mode():
            result = run_tiled(
                lambda tile: self.method(tile, token),
                pixels,
                scale=scale,
                tile=self.card.tile + 2 * self.card.halo,
                halo=self.card.halo,
                multiple_of=self.card.multiple_of,
                square=True,
                token=token,
            )
        return image.with_pixels(resize(result.clone().clamp(0, 1), image.height * scale, image.width * scale))


@dataclass(frozen=True, slots=True)
class OneStep:
    """Upsample the tile, encode it, denoise the latents by one call of the UNet, decode them."""

    scale: int
    unet: Any
    vae: Any
    prompt: Tensor
    step: int
    clean: Callable[[Tensor, Tensor], Tensor]
    """(latents, output of the UNet) -> clean latents; in float32, because it amplifies rounding errors."""
    weight_bytes: int
    least_side: int

    def __call__(self, tile: Tensor, token: ProgressToken) -> Tensor:
        """As `Method`."""
        large = resize(tile[0], tile.shape[-2] * self.scale, tile.shape[-1] * self.scale)
        factor = self.vae.config.scaling_factor
        latents = self.vae.encode((large[None] * 2 - 1).to(self.prompt)).latent_dist.mode() * factor
        token.check()
        predicted = self.unet(latents, self.step, encoder_hidden_states=self.prompt).sample
        token.check()
        clean = self.clean(latents.float(), predicted.float()).to(self.prompt)
        result = self.vae.decode(clean / factor).sample[0].float().cpu() / 2 + 0.5
        return align_low_frequencies(result.clamp(0, 1), large, COARSE_SIDE)[None]


@dataclass(frozen=True, slots=True)
class ManySteps:
    """The upscaling pipeline of diffusers. The seed of the noise is a hash of the tile: results are reproducible."""

    pipeline: Any
    prompt: Tensor
    options: dict[str, int]
    weight_bytes: int
    least_side: int = field(default=0)

    def __call__(self, tile: Tensor, token: ProgressToken) -> Tensor:
        """As `Method`; can be cancelled at every step."""
        import torch

        result: Tensor = self.pipeline(
            image=tile,
            prompt_embeds=self.prompt,
            guidance_scale=1.0,  # the prompt is empty, so guidance has no effect
            generator=torch.Generator().manual_seed(zlib.crc32(tile.contiguous().numpy().tobytes())),
            callback=lambda step, moment, latents: token.check(),
            output_type="pt",
            **self.options,
        ).images
        small = tile.shape[-2:]
        scale = result.shape[-1] // small[-1]
        large = resize(tile[0], small[0] * scale, small[1] * scale)
        return align_low_frequencies(result[0].float().cpu(), large, COARSE_SIDE)[None]


def load_diffusion(card: DiffusionCard, store: ModelStore) -> DiffusionExpert:
    """The diffusion model of a card. Reads only files of the store, and pickles only with torch's restricted reader.

    Raises `WeightsMissing` if a library or a file is missing, `WeightsError` if a file does not match the card, and
    `ResourceError` if the memory of the device does not suffice.
    """
    state = availability(card, store)
    if not state.can_run:
        raise WeightsMissing(f"expert {card.name} cannot run here", state.advice)
    import torch

    _silence_libraries()
    try:
        return DiffusionExpert(card, LOADERS[card.architecture](card, store.path(card.bundle), store))
    except RestoreError:
        raise
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"the memory of {best_device()} is full", "close other programs, or use smaller experts"
        ) from error
    except Exception as error:  # the errors of the libraries have no other common base class
        message = str(error).split("\n", 1)[0]
        raise WeightsError(f"expert {card.name}: {card.bundle} cannot be loaded: {message}") from error


def _osediff(card: DiffusionCard, folder: Path, store: ModelStore) -> Method:
    """z0 = (z - sqrt(1 - a) e) / sqrt(a) at the last step (Wu et al. 2024, arXiv 2406.08177)."""
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    if scheduler.config.prediction_type != "epsilon":
        raise WeightsError(
            f"{folder} predicts {scheduler.config.prediction_type}",
            "OSEDiff needs Stable Diffusion 2.1-base, which predicts epsilon",
        )
    signal = float(scheduler.alphas_cumprod[LAST_STEP])
    return _one_step(card, folder, store, LAST_STEP, lambda z, e: (z - (1 - signal) ** 0.5 * e) / signal**0.5)


def _pisasr(card: DiffusionCard, folder: Path, store: ModelStore) -> Method:
    """z0 = z - e (Sun et al. 2025, arXiv 2412.03017), with both LoRA adapters at full weight."""
    return _one_step(card, folder, store, FIRST_STEP, lambda latents, predicted: latents - predicted)


def _one_step(
    card: DiffusionCard, folder: Path, store: ModelStore, step: int, clean: Callable[[Tensor, Tensor], Tensor]
) -> Method:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    file = store.path(card.file.name) if card.file else folder
    changes = _lora_weights(card, file)
    device, dtype = _device_and_dtype(card)
    prompt = _prompt(folder).to(device, dtype)
    unet, vae = _pretrained(UNet2DConditionModel, folder / "unet"), _pretrained(AutoencoderKL, folder / "vae")
    add_lora(unet, changes["state_dict_unet"], file.name)
    add_lora(vae, changes["state_dict_vae"], file.name)
    side = unet.config.sample_size * 2 ** (len(vae.config.block_out_channels) - 1)
    unet, vae = unet.to(device, dtype), vae.to(device, dtype)
    return OneStep(card.scale, unet, vae, prompt, step, clean, _weight_bytes(unet, vae), side)


def _lora_weights(card: DiffusionCard, file: Path) -> dict[str, dict[str, Tensor]]:
    """The LoRA weights of UNet and VAE in `file`. Raises `WeightsError` if it is for another method."""
    content = read_content(file)
    parts = {name: _tensors(content, name) for name in ("state_dict_unet", "state_dict_vae")}
    names = adapters(parts["state_dict_unet"])
    if not names:
        raise WeightsError(
            f"{file.name} contains no LoRA weights for the UNet", f"download the file from {card.page}"
        )
    found = "PiSA-SR" if all(name.endswith(("_pix", "_sem")) for name in names) else "OSEDiff"
    if found != card.architecture:
        raise WeightsError(f"expert {card.name}: {file.name} is for {found}, not for {card.architecture}")
    return parts


def _tensors(content: Any, name: str) -> dict[str, Tensor]:
    import torch

    part = content.get(name) if isinstance(content, dict) else None
    items = part.items() if isinstance(part, dict) else ()
    return {str(key): value for key, value in items if isinstance(value, torch.Tensor)}


def _upscaler(card: DiffusionCard, folder: Path, store: ModelStore) -> Method:
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        DDPMScheduler,
        StableDiffusionUpscalePipeline,
        UNet2DConditionModel,
    )

    device, dtype = _device_and_dtype(card)
    prompt = _prompt(folder).to(device, dtype)
    unet, vae = _pretrained(UNet2DConditionModel, folder / "unet"), _pretrained(AutoencoderKL, folder / "vae")
    pipeline = StableDiffusionUpscalePipeline(
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        low_res_scheduler=DDPMScheduler.from_pretrained(folder / "low_res_scheduler", local_files_only=True),
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    ).to(device, dtype)
    vae.float()  # the VAE overflows in half precision
    pipeline.set_progress_bar_config(disable=True)
    options = {name: int(value) for name, value in card.options.items()}
    return ManySteps(pipeline, prompt, options, _weight_bytes(unet, vae))


def _pretrained(kind: Any, folder: Path) -> Any:
    """One model of a folder, in float32; never downloads and never reads a pickle."""
    import torch

    part = kind.from_pretrained(
        folder, variant="fp16", use_safetensors=True, local_files_only=True, torch_dtype=torch.float32
    )
    return part.eval().requires_grad_(False)


def _prompt(folder: Path) -> Tensor:
    """The embedding of `PROMPT`. It is the same for every image, so the text encoder is not kept."""
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    words = tokenizer(
        PROMPT, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    encoder = _pretrained(CLIPTextModel, folder / "text_encoder")
    embedded: Tensor = encoder(words)[0]
    return embedded


def _silence_libraries() -> None:
    """Silence the messages and progress bars of both libraries."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _device_and_dtype(card: DiffusionCard) -> tuple[torch.device, torch.dtype]:
    """Device and dtype; half precision only on a GPU, because it is slower on a CPU."""
    import torch

    device = best_device()
    half = card.dtype == "float16" and device.type == "cuda"
    return device, torch.float16 if half else torch.float32


def _weight_bytes(*networks: Any) -> int:
    return sum(weights.nbytes for network in networks for weights in network.parameters())


LOADERS: dict[str, Callable[[DiffusionCard, Path, ModelStore], Method]] = {
    "OSEDiff": _osediff,
    "PiSA-SR": _pisasr,
    "StableDiffusionUpscale": _upscaler,
}
