"""Reading of weight files without running code that they contain."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolbox.architectures import canonical
from toolbox.errors import WeightsError
from toolbox.ncnn_weights import read_ncnn

if TYPE_CHECKING:
    from torch import Tensor

HOW_TO_CONVERT = "if you trust it, convert it to .safetensors and use that file"


def read_weights(file: Path) -> dict[str, Tensor]:
    """The weights of a network by name, on the CPU, from a checkpoint or ncnn's pair of .param and .bin.

    Raises `WeightsError`.
    """
    return read_ncnn(file) if file.suffix == ".param" else read_state_dict(file)


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth, .pt, .ckpt or .pkl file by name, on the CPU.

    Wrapping dictionaries and prefixes of publishers (params, params_ema, state_dict, module., …) are removed. Pickles
    are read by torch's restricted unpickler (`weights_only`); TorchScript programs are refused.
    Raises `WeightsError`.
    """
    return _unwrapped(read_content(file), file)


def read_content(file: Path) -> Any:
    """The unmodified content of a weight file. Raises `WeightsError`."""
    from safetensors import SafetensorError

    try:
        return _read(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{file.name} cannot be loaded: {error or type(error).__name__}") from error
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        why = f"contains {foreign[1]}, which no weights need," if foreign else "is damaged or is not a weight file,"
        raise WeightsError(f"{file.name} {why} and was not loaded", HOW_TO_CONVERT) from error


def _read(file: Path) -> Any:
    import torch
    from safetensors.torch import load_file

    if file.suffix == ".safetensors":
        return load_file(file)
    if _is_torchscript(file):
        raise WeightsError(f"{file.name} is a TorchScript program, not a weight file", HOW_TO_CONVERT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols: a file that cannot be read is refused anyway
        return torch.load(file, map_location="cpu", weights_only=True)


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _unwrapped(content: Any, file: Path) -> dict[str, Tensor]:
    import torch

    state = canonical(content) if isinstance(content, dict) else {}
    if isinstance(state, dict):
        state = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise WeightsError(f"{file.name} contains no named weights")
    return state
