"""Published architectures, small and with random weights, written to disk in the form that their publishers use."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

Form = Literal["plain", "params", "params_ema", "training"]
"""BasicSR's wrappers; training: {"epoch", "state_dict"} with the prefix of data-parallel training."""
MAIN, EXTRA = "spandrel.architectures", "spandrel_extra_arches.architectures"


@dataclass(frozen=True, slots=True)
class RandomNetwork:
    """One architecture of a small size."""

    architecture: str
    """spandrel's id, which is also the module's name."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    scale: int = 1
    form: Form = "plain"
    suffix: str = ".pth"
    class_name: str = ""
    package: str = MAIN
    name: str = ""

    @property
    def title(self) -> str:
        """The name that distinguishes it from the others."""
        return self.name or self.class_name or self.architecture

    def make(self, seed: int = 0) -> nn.Module:
        """The network itself."""
        import torch

        torch.manual_seed(seed)
        module = importlib.import_module(f"{self.package}.{self.architecture}")
        network: nn.Module = getattr(module, self.class_name or self.architecture)(**self.arguments)
        return network.eval()

    def write(self, folder: Path, seed: int = 0) -> Path:
        """The file of its weights, in its publishers' form."""
        import torch
        from safetensors.torch import save_file

        state = {name: value.contiguous().clone() for name, value in self.make(seed).state_dict().items()}
        path = folder / f"{self.title}{self.suffix}"
        if self.suffix == ".safetensors":
            save_file(state, path)
            return path
        content: dict[str, Any] = {
            "plain": state,
            "params": {"params": state},
            "params_ema": {"params": state, "params_ema": state},
            "training": {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}},
        }[self.form]
        torch.save(content, path)
        return path


_SWIN: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2], "mlp_ratio": 2}
_SHUFFLE: dict[str, Any] = {"upscale": 4, "upsampler": "pixelshuffle"}
_GRL: dict[str, Any] = {"embed_dim": 16, "depths": [1], "num_heads_window": [2], "num_heads_stripe": [2]}

NETWORKS = (
    RandomNetwork("ATD", _SWIN | _SHUFFLE | {"window_size": 8, "num_tokens": 16}, 4, "params_ema"),
    RandomNetwork("Compact", {"num_feat": 16, "num_conv": 2, "upscale": 4}, 4, "params"),
    RandomNetwork("CRAFT", {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 2]}, 4, "params"),
    RandomNetwork("DCTLSA", {"nf": 20, "num_head": 5, "upscale": 4}, 4),
    RandomNetwork("DITN", {"dim": 16, "ITL_blocks": 1, "SAL_blocks": 1, "upscale": 4}, 4, "params"),
    RandomNetwork("DnCNN", {"in_nc": 3, "out_nc": 3, "nc": 16, "nb": 17, "act_mode": "R"}),
    RandomNetwork("DRCT", _SWIN | _SHUFFLE | {"window_size": 16, "gc": 8}, 4, "params"),
    RandomNetwork("DRUNet", {"in_nc": 4, "out_nc": 3, "nc": [8, 16, 16, 16], "nb": 2}),
    RandomNetwork("ESRGAN", {"num_filters": 16, "num_blocks": 2, "scale": 4}, 4, "plain", ".safetensors"),
    RandomNetwork("FBCNN", {"nc": [8, 16, 16, 512], "nb": 4}),
    RandomNetwork(
        "FDAT", {"embed_dim": 24, "num_groups": 1, "depth_per_group": 2, "num_heads": 2}, 4, "plain", ".safetensors"
    ),
    RandomNetwork("FFTformer", {"dim": 16, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1}),
    RandomNetwork("GRL", _GRL | _SHUFFLE, 4, "plain", ".ckpt"),
    RandomNetwork(
        "HAT", _SWIN | _SHUFFLE | {"window_size": 16, "squeeze_factor": 8, "num_feat": 16}, 4, "params_ema"
    ),
    RandomNetwork("HVICIDNet", {"channels": [12, 12, 24, 48]}),
    RandomNetwork(
        "KBNet",
        {"width": 16, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
        1,
        "params",
        class_name="KBNet_s",
    ),
    RandomNetwork("MixDehazeNet", {"embed_dims": [8, 16, 24, 16, 8], "depths": [1, 1, 1, 1, 1]}, 1, "training"),
    RandomNetwork("MoSR", {"n_block": 2, "dim": 16}, 4, "plain", ".safetensors"),
    RandomNetwork(
        "NAFNet", {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}, 1, "params"
    ),
    RandomNetwork("OmniSR", {"num_feat": 16, "up_scale": 4}, 4),
    RandomNetwork("PLKSR", {"dim": 16, "n_blocks": 2}, 4, "params"),
    RandomNetwork("PLKSR", {"dim": 16, "n_blocks": 2}, 4, "params", ".pt", class_name="RealPLKSR"),
    RandomNetwork("RCAN", {"n_resgroups": 1, "n_resblocks": 2, "n_feats": 16, "reduction": 4}, 4, "plain", ".pt"),
    RandomNetwork("RealCUGAN", {}, 2, class_name="UpCunet2x"),
    RandomNetwork(
        "RestoreFormer",
        {
            "ch": 32,
            "ch_mult": (1, 1, 2, 2, 2, 2),
            "num_res_blocks": 1,
            "embed_dim": 64,
            "z_channels": 64,
            "n_embed": 64,
        },
    ),
    RandomNetwork("RetinexFormer", {"n_feat": 16, "stage": 1}, 1, "params"),
    RandomNetwork("RGT", {"embed_dim": 24, "depth": [2], "num_heads": [2], "upscale": 4}, 4, "params"),
    RandomNetwork("SAFMN", {"dim": 12, "n_blocks": 2}, 4, "params"),
    RandomNetwork("SAFMNBCIE", {"dim": 12, "n_blocks": 2, "num_layers": 2}, 1, "params"),
    RandomNetwork("SCUNet", {"dim": 64, "config": [1, 1, 1, 1, 1, 1, 1]}),
    RandomNetwork("SeemoRe", {"num_experts": 2, "num_layers": 2, "embedding_dim": 16}, 4, "params"),
    RandomNetwork("SPAN", {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16}, 4, "params_ema"),
    RandomNetwork("Swin2SR", _SWIN | _SHUFFLE | {"window_size": 8}, 4),
    RandomNetwork("SwinIR", _SWIN | _SHUFFLE | {"window_size": 8}, 4, "params_ema"),
    RandomNetwork("SwinIR", _SWIN | {"window_size": 8}, 1, "params", name="SwinIR-denoise"),
    RandomNetwork(
        "SwinIR", _SWIN | {"window_size": 7, "img_size": 126, "img_range": 255.0}, 1, "params", name="SwinIR-JPEG"
    ),
    RandomNetwork("Uformer", {"embed_dim": 8, "depths": [1] * 9, "modulator": True}, 1, "training"),
    RandomNetwork("MIRNet2", {"n_feat": 16, "n_MRB": 1}, 1, "params", package=EXTRA),
    RandomNetwork(
        "MPRNet",
        {"n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8, "num_cab": 2},
        1,
        "training",
        package=EXTRA,
    ),
    RandomNetwork(
        "Restormer", {"dim": 16, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1}, 1, "params", package=EXTRA
    ),
    RandomNetwork("SRFormer", _SWIN | _SHUFFLE | {"window_size": 8}, 4, "params_ema", package=EXTRA),
)

FACE_NETWORKS = (
    RandomNetwork(
        "GFPGAN",
        {"out_size": 512, "channel_multiplier": 2, "different_w": True, "sft_half": True, "input_is_latent": True},
        1,
        "params_ema",
    ),
    RandomNetwork("CodeFormer", {}, 1, "params_ema", package=EXTRA),
)
"""These two exist in their full size only: 0.3 GB each, for pictures of 512x512."""
