"""Mixed precision: networks in bfloat16 that keep the image in float32 and compute only the residual in bfloat16.

Autocast rounds the image too (`python -m benchmarks.precision` compares both).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NOISE = 15 / 255
"""The noise level that spandrel passes to a DRUNet."""

SPAN_BLOCKS = tuple(f"block_{number}" for number in range(1, 7))
BAND_PIXELS = 4096
"""Pixels of a band of rows in which a CPU adds the image to the residual, so that they stay in the cache."""


def mixed_precision(architecture: str, model: Any) -> Callable[[Tensor], Tensor] | None:
    """The network with its weights converted to bfloat16; None for architectures that only autocast supports.

    Its input and output are (B, 3, h, w) float32 in [0, 1], as those of spandrel's descriptor; the sides must meet
    the size requirements of the architecture.
    """
    import torch

    if architecture == "Compact":
        model.to(torch.bfloat16)
        return lambda pixels: _compact(model, pixels)
    if architecture == "DRUNet" and model.m_head.in_channels == 4:
        for part in ("m_down1", "m_down2", "m_down3", "m_body", "m_up3", "m_up2", "m_up1"):
            getattr(model, part).to(torch.bfloat16)
        return lambda pixels: _drunet(model, pixels)
    if architecture == "SPAN" and model.is_norm:
        _fold(model)
        for part in ("conv_1", *SPAN_BLOCKS, "conv_2", "conv_cat"):
            getattr(model, part).to(torch.bfloat16)
        return lambda pixels: _span(model, pixels)
    return None


def _fold(model: Any) -> None:
    """Replace each Conv3XC by the convolution into which it folds its branches before every use."""
    for name, child in list(model.named_children()):
        if hasattr(child, "eval_conv"):
            child.update_params()
            setattr(model, name, child.eval_conv)
        else:
            _fold(child)


def _span(model: Any, pixels: Tensor) -> Tensor:
    """SPAN with its upsampler, which computes the image itself, in float32."""
    import torch

    first = model.conv_1(((pixels - model.mean.to(pixels)) * model.img_range).bfloat16())
    features, blocks = first, []
    for name in SPAN_BLOCKS:
        features, inside, _ = getattr(model, name)(features)
        blocks.append((features, inside))
    joined = torch.cat([first, model.conv_2(features), blocks[0][0], blocks[-1][1]], 1)
    result: Tensor = model.upsampler(model.conv_cat(joined).float())
    return result.clamp_(0, 1)


def _compact(model: Any, pixels: Tensor) -> Tensor:
    """Compact with the final addition of the image in float32."""
    import torch

    features, scale = pixels.bfloat16(), int(model.upscale)
    for layer in model.body:
        features = layer(features)
    (count, channels, height, width) = pixels.shape
    result = torch.empty(count, channels, height, scale, width, scale, device=pixels.device)
    at_once = max(1, BAND_PIXELS // (count * width)) if pixels.device.type == "cpu" else height
    for rows in (slice(top, top + at_once) for top in range(0, height, at_once)):
        residual = features[:, :, rows].reshape(count, channels, scale, scale, -1, width).permute(0, 1, 4, 2, 5, 3)
        torch.add(pixels[:, :, rows, None, :, None], residual, out=result[:, :, rows]).clamp_(0, 1)
    return result.view(count, channels, height * scale, width * scale)


def _drunet(model: Any, pixels: Tensor) -> Tensor:
    """DRUNet with head, outermost skip connection and tail, which carry the image, in float32."""
    import torch

    first = model.m_head(torch.cat([pixels, torch.full_like(pixels[:, :1], NOISE)], dim=1))
    x1 = first.bfloat16()
    x2 = model.m_down1(x1)
    x3 = model.m_down2(x2)
    x4 = model.m_down3(x3)
    features = model.m_up3(model.m_body(x4).add_(x4))
    features = model.m_up1(model.m_up2(features.add_(x3)).add_(x2))
    result: Tensor = model.m_tail(first.add_(features))
    return result.clamp_(0, 1)
