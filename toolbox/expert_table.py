"""docs/experts.md out of the cards: `python -m toolbox.expert_table docs/experts.md`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue, default_catalogue
from toolbox.model_bundles import model_bundles
from toolbox.tasks import Task

IN_PROCESS, BY_EXPORT, REPLACED, IMPOSSIBLE = "in-process", "by export", "replaced", "impossible"
INTRODUCTION = """\
# Experts

`restore4k experts` shows all of them with their state on your machine, `restore4k experts --json` every field of
their cards; `restore4k models pull NAME` or `--profile NAME` downloads, and says first what restricts the use. What
must not be used commercially takes part only where the profile says `non_commercial = true`, or the command
`--non-commercial`.

This page is written from the cards by `python -m toolbox.expert_table docs/experts.md`.
"""
REFERENCE = f"""\
## The experts of 4KAgent

- {IN_PROCESS}: a library that is kept up loads it into our process, and keeps it warm;
- {BY_EXPORT}: nobody loads its code, but an ONNX graph that you export yourself runs in our process under the name
  and file that its card says (`pip install 'restore4k[onnx]'`); until then the named experts do its work;
- {REPLACED}: it cannot run here; the named experts do its work.

Sizes and sums are those that others have published; every architecture has been tried with random weights in its
publishers' file form ([benchmarks/README.md](../benchmarks/README.md)), no published weights have. Exported graphs
have been tried with small ones.
"""
DIFFUSION = """\
## Diffusion

`pip install 'restore4k[diffusion]'`. OSEDiff and PiSA-SR change Stable Diffusion 2.1-base, which was withdrawn;
`restore4k models pull osediff` fetches it from a copy, in half precision, checked, into one folder for both.
PiSA-SR's file is on Google Drive: put it into the models folder, then `restore4k models pull pisasr`. Nothing else is
fetched, and no file is read but those of the models folder.

- One step of diffusion, and no words: OSEDiff's and PiSA-SR's own programs also let a picture tagger (RAM) describe
  the picture. The UNet's answer is used as in their papers; latents are the encoder's mean, so that results repeat.
- Tiles of 512 pixels of the result, whole latents, overlapping, each with the coarse colours of its input. Smaller
  pictures are enlarged to 512 pixels first, as by the papers' programs, and brought back.
- float16 on a GPU, float32 elsewhere. By the sizes of their files the weights take 1.9 GB there, 3.8 GB here.
- Plans reach 16x by 4x twice, as those of 4KAgent; the 16x experts run where a client calls `super_resolve` with
  scale 16.
- DiffBIR's control network and sampler are research code alone. The nearest that a library loads is
  `sd_x4_upscaler`, in fifty steps whose noise depends on the picture alone.
"""
OTHERS = """\
## Further published networks

Not in 4KAgent's toolbox; mostly under licences that allow commercial use.
"""
OWN = """\
## Your own

```sh
restore4k models add my_denoiser.safetensors --task denoising --name my_denoiser --licence MIT --commercial yes
```

takes any checkpoint that spandrel reads (.pth, .pt, .ckpt, .safetensors, with or without `params`, `params_ema`,
`state_dict`, `module.`) and any ONNX graph from one (1, 3, h, w) picture to one. It is recognised, run on a test
picture, copied into the models folder and given a card (`cards/NAME.toml` there; edit it for tiles, precision or
preference). From then on it is a candidate of Q-MoE; a running server sees it when it is started again.

Files that carry code are refused. So are programs of TorchScript and of torch.export (.pt2): the first are code, and
`torch.export.load` unpickles whatever the file says. Where you trust one, export it to ONNX
(`torch.onnx.export(program, args, "it.onnx", dynamo=True)`) and add that.
"""


def availability_of(card: ExpertCard) -> str:
    """How an expert is available, on any machine that has fetched what can be fetched."""
    if card.loader == "onnx":
        return BY_EXPORT
    if card.loader == "none":
        return REPLACED if card.alternatives else IMPOSSIBLE
    return IN_PROCESS


def expert_page(catalogue: Catalogue) -> str:
    """The page, in Markdown."""
    reference = [card for card in catalogue if card.reference]
    best: dict[tuple[Task, str], ExpertCard] = {}
    for card in reference:  # the first card of a tool is the one that 4KAgent means
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
        how = availability_of(card) + (f"; else {', '.join(card.alternatives)}" if card.alternatives else "")
        name = f"[{card.name}]({card.page})" if card.page else card.name
        facts = [task, name, how, card.licences, card.commercial, card.architecture or "–", _weights(card)]
        lines.append([*([tool or ""] if first else []), *facts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _weights(card: ExpertCard) -> str:
    if not card.files:
        return "none needed" if card.loader == "classical" else "–"
    parts = [f"{card.bundle} ({len(model_bundles()[card.bundle].files)} files, can be pulled)"] if card.bundle else []
    if card.file:
        size = f"{card.file.size / 1e6:.0f} MB" if card.file.size else "size not published"
        checked = "sha256 known" if card.file.sha256 else "sha256 unknown"
        fetched = "can be pulled" if card.file.urls else "by hand"
        parts.insert(0, ", ".join([card.file.name, size, checked, fetched]))
    return "; ".join(parts)


def main() -> None:
    """Write the page to the file that is named."""
    Path(sys.argv[1]).write_text(expert_page(default_catalogue()), "utf-8")


if __name__ == "__main__":
    main()
