"""Loss from choosing an enlarger on crops and running it alone on the whole, against running all on the whole.

    python -m benchmarks.enlargers --data BENCH [--photos 60] [--always]

The competitors are those that the default profile shortlists by expected gain; with `--always`, the two embedded
networks for 2x on every photo. Photos of BSD100 are reduced to half their size; every second one is then compressed
(JPEG, quality 40). They are far smaller than pictures that are prescreened, so the crops are as small as the patches
of the judging networks allow.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from agent import qmoe
from agent.judging import Candidate, Judge, best_verdict
from agent.state import Step
from agent.step import experts_for
from agent.step_context import StepContext
from benchmarks.report import reported
from benchmarks.trials import pictures, spread
from imaging.convert import from_numpy
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from iqa.features import extract_features
from iqa.metrics.psnr import psnr_y
from profiles.loading import load_profile
from toolbox.card import ExpertCard
from toolbox.expert import run_expert, without_tta
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.data.degradations import jpeg
from training.data.loading import load_photo, shrink

NETWORKS = ("restore4k_sr_x2", "restore4k_sr_x2_real")
STEP = Step(task=Task.SUPER_RESOLUTION, scale=2)
SIDE = 64
"""Side of a crop in pixels."""
QUALITY = 40


@reported("enlargers", "Enlargers decided on crops")
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with bsd100/hr")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--always", action="store_true", help="let both embedded networks compete on every photo")
    arguments = parser.parse_args()
    qmoe.PRESCREENED_SIDE = SIDE * STEP.scale
    pool, regrets, alone = ExpertPool(), list[float](), 0
    print("| photo | decided on the whole, dB | on crops, dB | the worst of them, dB |\n|---|---|---|---|")
    for number, photo in enumerate(spread(pictures(arguments.data / "bsd100" / "hr"), arguments.photos)):
        image, truth = pair(photo, compressed=number % 2 == 1)
        context = StepContext(image, STEP, load_profile("default"), pool, extract_features(image, models=pool))
        cards = [pool.catalogue.card(name) for name in NETWORKS] if arguments.always else experts_for(context)
        if len(cards) < 2:
            alone += 1
            regrets.append(0.0)
            continue
        found = on_the_whole(context, cards)
        db = {name: psnr_y(truth, candidate.image or image, crop=2) for name, candidate in found.items()}
        whole, crops = best_verdict([one.verdict for one in found.values()]).expert, on_crops(context, cards)
        regrets.append(db[whole] - db[crops])
        print(f"| {photo.stem} | {db[whole]:.3f} | {db[crops]:.3f} | {min(db.values()):.3f} |", flush=True)
    changed = sum(regret != 0 for regret in regrets)
    print(f"\nMean regret over {len(regrets)} photos: {fmean(regrets):.4f} dB, worst {max(regrets):.3f} dB;", end=" ")
    print(f"{alone} have one enlarger, {changed} choices differ.")


def pair(photo: Path, *, compressed: bool) -> tuple[Image, Image]:
    """The small photo, and the photo itself."""
    truth = read_image(photo)
    even = truth.with_pixels(truth.pixels[:, : truth.height // 2 * 2, : truth.width // 2 * 2].contiguous())
    small = shrink(load_photo(photo)[: even.height, : even.width], STEP.scale).astype(np.float32) / np.float32(255)
    return Image(from_numpy(jpeg(small, QUALITY) if compressed else small)), even


def on_the_whole(context: StepContext, cards: Sequence[ExpertCard]) -> Mapping[str, Candidate]:
    """The result and verdict of each expert on the whole picture."""
    judge, found = Judge(context), {}
    for card in cards:
        result = run_expert(without_tta(context.experts.get(card.name)), context.image, ProgressToken())
        found[card.name] = judge.evaluate(card, result, 0.0)
    return found


def on_crops(context: StepContext, cards: Sequence[ExpertCard]) -> str:
    """The expert that a run chooses on crops."""
    (chosen,) = qmoe.worth_a_run(list(qmoe.prescreen(context, cards)), most=1)
    return chosen


if __name__ == "__main__":
    main()
