"""Results of experts, weight files and the agent on held-out photos, with published figures.

    python -m benchmarks.quality --data DATA/bench
    python -m benchmarks.quality --data DATA/bench --group "SR 4x" JPEG --photos 100
    python -m benchmarks.quality --data DATA/bench --group rain --pipeline default
    python -m benchmarks.quality --data DATA/bench --group "SR 4x" --weights RUNS/sr_x4/sr_x4.safetensors

DATA/bench has set5, set14, bsd100 and urban100, each with hr/ and lr_x4/. One Markdown table per group: dB of PSNR (Y
with `scale` border pixels left out; RGB for noise), the mean gain over the input (enlarged bicubically where it is
small), and megapixels of input per second on this machine. Nothing is ever tuned on these photos.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image

from benchmarks.agent_on import restored_by_agent
from benchmarks.report import reported
from benchmarks.trials import Trial, trials
from imaging.convert import from_numpy, to_float, to_numpy, to_uint8
from imaging.image import Image
from imaging.progress import ProgressToken
from profiles.loading import load_profile
from toolbox.expert import Expert, run_expert
from toolbox.pool import ExpertPool
from training.networks.evaluate import expert_of

PEERS = Path(__file__).with_name("peers.toml")
Runner = Callable[[Image], Image]


@dataclass(slots=True)
class Row:
    """Result of one runner in one group."""

    name: str
    db: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    megapixels: float = 0.0


@reported("quality", "PSNR gain of each expert")
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--group", nargs="*", default=None, help="tables to make; all of them if left out")
    parser.add_argument("--photos", type=int, default=16, help="of BSD100, for the degraded ones")
    parser.add_argument("--expert", nargs="*", default=None, help="only these experts")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="weight files to be tried as well")
    parser.add_argument("--pipeline", default=None, help="a profile by which the whole agent is tried as well")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    pool = ExpertPool()
    tables: dict[str, list[Row]] = {}
    wanted = [trial for trial in trials(arguments.data, arguments.photos) if _is_in(trial.group, arguments.group)]
    for group in dict.fromkeys(trial.group for trial in wanted):
        own = [trial for trial in wanted if trial.group == group]
        runners = _runners(own[0], pool, arguments.expert, arguments.weights, arguments.pipeline)
        tables[group] = table(own, runners)
        print(as_markdown(group, own, tables[group]), flush=True)
    if arguments.json:
        plain = {group: [{"name": row.name, **row.db} for row in rows] for group, rows in tables.items()}
        arguments.json.write_text(json.dumps(plain, indent=2) + "\n", "utf-8")


def table(columns: Sequence[Trial], runners: dict[str, Runner]) -> list[Row]:
    """One row per runner, the untouched input first."""
    rows = [Row("input"), *(Row(name) for name in runners)]
    for trial in columns:
        values: dict[str, list[float]] = {row.name: [] for row in rows}
        for degraded, truth in trial.pairs():
            values["input"].append(trial.db(_as_large(degraded, trial.scale), truth))
            for row in rows[1:]:
                started = time.perf_counter()
                result = runners[row.name](degraded)
                row.seconds += time.perf_counter() - started
                row.megapixels += degraded.width * degraded.height / 1e6
                values[row.name].append(trial.db(result, truth))
        for row in rows:
            row.db[trial.name] = float(np.mean(values[row.name]))
    return rows


def as_markdown(group: str, columns: Sequence[Trial], rows: Sequence[Row]) -> str:
    """The table, our rows first, then published figures of others."""
    names = [trial.name for trial in columns]
    photos = ", ".join(dict.fromkeys(str(len(trial.photos)) for trial in columns))
    lines = [
        f"\n### {group} ({'RGB' if columns[0].rgb else 'Y'}, photos: {photos})\n",
        f"| | {' | '.join(names)} | gain | MP/s |",
        "|---" * (len(names) + 3) + "|",
    ]
    base = float(np.mean(list(rows[0].db.values())))
    for row in rows:
        gain = float(np.mean(list(row.db.values()))) - base
        speed = f"{row.megapixels / row.seconds:.2f}" if row.seconds else ""
        figures = " | ".join(f"{row.db[name]:.2f}" for name in names)
        lines.append(f"| {row.name} | {figures} | {f'{gain:+.2f}' if row.seconds else ''} | {speed} |")
    for peer, values in tomllib.loads(PEERS.read_text("utf-8")).get(group, {}).items():
        figures = " | ".join(f"*{values[name]}*" if name in values else "" for name in names)
        lines.append(f"| *{peer}* | {figures} | {values.get('gain', '')} | |")
    return "\n".join(lines)


def _runners(
    trial: Trial, pool: ExpertPool, names: Sequence[str] | None, weights: Sequence[Path], pipeline: str | None
) -> dict[str, Runner]:
    experts: dict[str, Expert] = {
        card.name: pool.get(card.name) for card in pool.runnable(trial.task, trial.scale) if _is_in(card.name, names)
    }
    for file in weights:
        network = expert_of(file)
        if network.card.scale == trial.scale:
            experts[file.stem] = network
    runners: dict[str, Runner] = {name: _runner(expert) for name, expert in experts.items()}
    if pipeline:
        profile = load_profile(pipeline)
        runners[f"agent ({pipeline})"] = lambda image: restored_by_agent(image, trial.scale, profile, pool)[0]
    return runners


def _runner(expert: Expert) -> Runner:
    return lambda image: run_expert(expert, image, ProgressToken())


def _as_large(image: Image, scale: int) -> Image:
    """Enlarged bicubically as the literature does it, rounded to 8 bits."""
    if scale == 1:
        return image
    small = PIL.Image.fromarray(to_uint8(to_numpy(image.pixels)))
    large = small.resize((image.width * scale, image.height * scale), PIL.Image.Resampling.BICUBIC)
    return Image(from_numpy(to_float(np.asarray(large))))


def _is_in(name: str, wanted: Sequence[str] | None) -> bool:
    return wanted is None or name in wanted


if __name__ == "__main__":
    main()
