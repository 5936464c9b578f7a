"""Writes docs/experts.md from the cards: `python -m toolbox.expert_table docs/experts.md`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from toolbox.card import ClassicalCard, DiffusionCard, ExpertCard, OnnxCard, SpandrelCard, UnavailableCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.model_bundles import model_bundles
from toolbox.tasks import Task

IN_PROCESS, BY_EXPORT, REPLACED, IMPOSSIBLE = "in-process", "by export", "replaced", "impossible"
INTRODUCTION = """\
# Experts

`restore4k experts` lists all experts with their state on your machine; `restore4k experts --json` prints every key of
their cards. `restore4k models pull NAME` or `restore4k models pull --profile NAME` downloads them, after naming the
licences that restrict their use. Experts whose licence forbids commercial use are only candidates if the profile sets
`non_commercial = true` or the command has the option `--non-commercial`.

`python -m toolbox.expert_table docs/experts.md` writes this page from the cards.
"""
REFERENCE = f"""\
## The experts of 4KAgent

- {IN_PROCESS}: a maintained library loads it, and it stays loaded;
- {BY_EXPORT}: no maintained library loads it, but an ONNX graph that you export runs under the file name that its
  card gives (`pip install 'restore4k[onnx]'`); until then the listed experts replace it;
- {REPLACED}: it cannot run here; the listed experts replace it.

File sizes and checksums are the published ones. Every architecture was tested with random weights in the file format
of its publisher ([benchmarks/README.md](../benchmarks/README.md)), none with the published weights. Exported graphs
were tested with small networks.
"""
DIFFUSION = """\
## Diffusion

`pip install 'restore4k[diffusion]'`. OSEDiff and PiSA-SR fine-tune Stable Diffusion 2.1-base, which its publisher
withdrew; `restore4k models pull osediff` downloads a copy in half precision, verifies it, and stores it in one folder
for both. PiSA-SR's file is on Google Drive: put it into the models folder, then run `restore4k models pull pisasr`.
Nothing else is downloaded, and only files in the models folder are read.

- One diffusion step with an empty prompt. The original programs of OSEDiff and PiSA-SR also use the words of an image
  tagger (RAM). The output of the UNet is used as in their papers; the latents are the mean of the distribution that
  the encoder predicts, so that results are reproducible.
- Overlapping tiles of 512 pixels of the result, aligned to the latent grid; the low frequencies of a tile's colours
  come from its input. Smaller images are first upsampled to 512 pixels, as in the original programs, and the result
  is resized.
- float16 on a GPU, float32 elsewhere. By their file sizes, the weights take 1.9 GB in float16 and 3.8 GB in float32.
- Plans reach 16x by two 4x steps, as in 4KAgent; the 16x experts run if a client calls `super_resolve` with scale 16.
- DiffBIR's control network and sampler exist only as research code. The most similar model that a library loads is
  `sd_x4_upscaler`, with fifty steps whose noise depends only on the image.
"""
OTHERS = """\
## Further published networks

Not part of 4KAgent's toolbox; most licences allow commercial use.
"""
OWN = """\
## Custom models

```sh
restore4k models add my_denoiser.safetensors --task denoising --name my_denoiser --licence MIT --commercial yes
```

accepts any checkpoint that spandrel reads (.pth, .pt, .ckpt, .safetensors, with or without `params`, `params_ema`,
`state_dict`, `module.`) and any ONNX graph that maps one (1, 3, h, w) tensor to one. The command recognises the
architecture, copies the file into the models folder, runs the network on a test image, and writes a card
(`cards/NAME.toml` there; edit it to change tiles, precision or preference). From then on the expert is a candidate of
Q-MoE; restart a running server to load it.

Files that contain code are refused, and so are TorchScript and torch.export (.pt2) programs: the former are code, and
`torch.export.load` unpickles whatever the file contains. If you trust a program, export it to ONNX
(`torch.onnx.export(program, args, "it.onnx", dynamo=True)`) and add that file.
"""


def availability_of(card: ExpertCard) -> str:
    """How an expert is available on a machine with all downloads."""
    if isinstance(card, OnnxCard):
        return BY_EXPORT
    if isinstance(card, UnavailableCard):
        return REPLACED if card.alternatives else IMPOSSIBLE
    return IN_PROCESS


def expert_page(catalogue: Catalogue) -> str:
    """The page, in Markdown."""
    reference = [card for card in catalogue if card.reference]
    best: dict[tuple[Task, str], ExpertCard] = {}
    for card in reference:  # the first card with a tool's name is the one of 4KAgent
        for tool in card.reference:
            best.setdefault((card.task, tool), card)
    counts = Counter(availability_of(card) for card in best.values())
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in (IN_PROCESS, BY_EXPORT, REPLACED, IMPOSSIBLE))
    tools = {tool.removesuffix("_2x").removesuffix("_16x") for _, tool in best}
    parts = [INTRODUCTION, REFERENCE, f"**{len(best)} experts ({len(tools)} tools): {summary}.**\n"]
    parts.append(_table(((tool, card) for (_, tool), card in best.items()), first="4KAgent's name"))
    others = [card for card in catalogue if card.files and not card.reference]
    parts += [OTHERS, _table(((None, card) for card in others), first=None), DIFFUSION, OWN]
    return "\n".join(parts)


def _table(rows: Iterable[tuple[str | None, ExpertCard]], first: str | None) -> str:
    head = [
        *([first] if first else []),
        "task",
        "here",
        "how",
        "licence",
        "commercial use",
        "architecture",
        "weights",
    ]
    lines = [head, ["---"] * len(head)]
    for tool, card in sorted(rows, key=lambda row: (list(Task).index(row[1].task), row[1].scale)):
        task = card.task.value if card.scale == 1 else f"{card.task.value} {card.scale}x"
        how = availability_of(card)
        if isinstance(card, OnnxCard | UnavailableCard) and card.alternatives:
            how += f"; else {', '.join(card.alternatives)}"
        architecture = card.architecture if isinstance(card, SpandrelCard | DiffusionCard) else None
        name = f"[{card.name}]({card.page})" if card.page else card.name
        facts = [task, name, how, card.licences, card.commercial, architecture or "–", _weights(card)]
        lines.append([*([tool or ""] if first else []), *facts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _weights(card: ExpertCard) -> str:
    if not card.files:
        return "none needed" if isinstance(card, ClassicalCard) else "–"
    parts = []
    if isinstance(card, DiffusionCard):
        parts.append(f"{card.bundle} ({len(model_bundles()[card.bundle].files)} files, can be pulled)")
    if isinstance(card, SpandrelCard | OnnxCard | DiffusionCard) and card.file:
        size = f"{card.file.size / 1e6:.0f} MB" if card.file.size else "size not published"
        checked = "sha256 known" if card.file.sha256 else "sha256 unknown"
        fetched = "can be pulled" if card.file.urls else "by hand"
        parts.insert(0, ", ".join([card.file.name, size, checked, fetched]))
    return "; ".join(parts)


def main() -> None:
    """Write the page to the file given on the command line."""
    Path(sys.argv[1]).write_text(expert_page(default_catalogue()), "utf-8")


if __name__ == "__main__":
    main()
