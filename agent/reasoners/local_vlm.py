"""A vision-language model on this machine, through transformers: Llama-3.2-Vision as in 4KAgent, or a smaller one."""

from __future__ import annotations

import importlib.util
import io
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ModelError
from agent.reasoners.model_reasoner import Question, Reply
from imaging.errors import Cancelled
from imaging.progress import ProgressToken
from toolbox.pool import ModelPool

MODEL = "RESTORE4K_VLM"
HOW_TO_SET = f"install restore4k[vlm] and set {MODEL} to a model's folder, or to the name of one that is downloaded"
MOST_TOKENS = 500
TEMPERATURE = 0.2
DEFAULT_SECONDS = 300.0
SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""Read from disk only, and run no code from the model's folder."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model in a folder or in the cache of Hugging Face; it is never downloaded.

    `pool` keeps it in memory together with the experts, evicts it and loads it again as needed.
    """

    model: str
    """The folder, or `owner/name`."""
    pool: ModelPool
    seed: int = 0
    seconds: float = DEFAULT_SECONDS

    @classmethod
    def from_environment(cls, pool: ModelPool) -> LocalModel | None:
        """The model that RESTORE4K_VLM names, or None. Raises `ModelError` if transformers is missing."""
        model = os.environ.get(MODEL, "").strip()
        if not model:
            return None
        if importlib.util.find_spec("transformers") is None:
            raise ModelError("transformers is not installed", 'pip install "restore4k[vlm]"')
        return cls(model, pool)

    def problem(self) -> str:
        """Why it cannot be used, as far as its configuration shows, or an empty string."""
        from transformers import AutoConfig
        from transformers.utils import logging

        logging.set_verbosity_error()
        try:
            AutoConfig.from_pretrained(_name(self.model), **SAFE)
        except (OSError, ValueError) as error:
            return f"{self.model} cannot be used: {_first_line(error)}"
        return ""

    def ask(self, question: Question, token: ProgressToken) -> Reply:
        """The model's reply, reproducible by its seed. Raises `ModelError`, and `Cancelled` between two tokens."""
        try:
            return self.pool.hold(f"vlm {self.model}", lambda: _load(self.model)).ask(question, token, self)
        except (Cancelled, ModelError):
            raise
        except Exception as error:  # third-party models and processors can raise anything; the rules take over
            raise ModelError(f"{self.model} failed: {type(error).__name__}: {str(error)[:300]}") from error


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Network and processor in memory."""

    network: Any
    processor: Any

    @property
    def weight_bytes(self) -> int:
        """Bytes in memory, for the pool's budget."""
        return sum(tensor.nbytes for tensor in self.network.parameters())

    def ask(self, question: Question, token: ProgressToken, settings: LocalModel) -> Reply:
        import torch
        from transformers import StoppingCriteriaList

        device = self.network.device
        inputs = self.processor.apply_chat_template(
            _messages(question), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(device, dtype=self.network.dtype)
        until = _StopGeneration(token, time.monotonic() + settings.seconds)
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.inference_mode():
            torch.manual_seed(settings.seed)
            tokens = self.network.generate(
                **inputs,
                max_new_tokens=MOST_TOKENS,
                do_sample=True,
                temperature=TEMPERATURE,
                stopping_criteria=StoppingCriteriaList([until]),
            )
        token.check()
        if until.late:
            raise ModelError(f"{settings.model} gave no answer within {settings.seconds:g} seconds")
        asked = inputs["input_ids"].shape[1]
        answer = tokens[0, asked:]
        text = self.processor.batch_decode([answer], skip_special_tokens=True)[0]
        return Reply(text, asked, len(answer))


class _StopGeneration:
    """A stopping criterion: the caller has cancelled, or the time is up."""

    def __init__(self, token: ProgressToken, deadline: float) -> None:
        self._token = token
        self._deadline = deadline
        self.late = False

    def __call__(self, tokens: Any, scores: Any, **_: Any) -> Any:
        import torch

        self._token.check()
        self.late = time.monotonic() > self._deadline
        return torch.full((tokens.shape[0],), self.late, dtype=torch.bool, device=tokens.device)


def _messages(question: Question) -> list[dict[str, Any]]:
    """The system prompt is part of the user's message: not every chat template has a system role."""
    import PIL.Image

    pictures = [PIL.Image.open(io.BytesIO(data)).convert("RGB") for data in question.pictures]
    words = {"type": "text", "text": f"{question.system}\n\n{question.text}"}
    return [{"role": "user", "content": [*({"type": "image", "image": one} for one in pictures), words]}]


def _load(model: str) -> _Loaded:
    """Load a model, from safetensors only. Raises `ModelError` if it is missing or of another kind."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    from imaging.device import best_device

    device = best_device()
    logging.disable_progress_bar()
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    name = _name(model)
    try:
        processor = AutoProcessor.from_pretrained(name, **SAFE)
        network = AutoModelForImageTextToText.from_pretrained(name, use_safetensors=True, dtype=dtype, **SAFE)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"{model} cannot be loaded: {_first_line(error)}",
            f"name a folder with its files, or download it first: hf download {model}",
        ) from error
    return _Loaded(network.to(device).eval(), processor)


def _name(model: str) -> str:
    folder = Path(model).expanduser()
    return str(folder) if folder.is_dir() else model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
