"""A training that is killed without warning goes on from its last checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from spandrel import ModelLoader

from training.networks.train import train
from training.recipe import load_recipe

RECIPE = """
about = "For tests."
architecture = "Compact"
network = { num_feat = 8, num_conv = 2, upscale = 2 }
scale = 2
degrade = "bicubic"
patch = 32
batch = 2
steps = 100_000_000
learning_rate = 1e-3
warm_up = 2
"""
REPOSITORY = Path(__file__).parents[3]
PROGRAM = """
import sys, training.networks.train as t
save = t.Run.save
def save_and_tell(run):
    save(run)
    print("saved", flush=True)
t.Run.save, t.SAVE_EVERY_SECONDS, sys.argv[0] = save_and_tell, 0.2, "train"
t.main()
"""


def saved_step(run_dir: Path) -> int:
    return int(torch.load(run_dir / "checkpoint.pt", weights_only=True)["step"])


def test_a_killed_training_resumes_from_its_last_checkpoint(photos: Path, tmp_path: Path) -> None:
    recipe, run_dir = tmp_path / "tiny.toml", tmp_path / "runs" / "tiny"
    recipe.write_text(RECIPE)
    arguments = [recipe, "--data", photos, "--run-dir", run_dir, "--threads", "1"]
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        assert "saved\n" in killed.stdout
        killed.kill()
    before = saved_step(run_dir)
    assert before > 0
    train(load_recipe(recipe), photos, run_dir, minutes=0.01)
    last = json.loads((run_dir / "log.jsonl").read_text().splitlines()[-1])
    assert last["finished"]
    assert last["step"] == saved_step(run_dir) > before
    assert load_file(run_dir / "tiny.safetensors")["body.0.weight"].shape == (8, 3, 3, 3)
    assert ModelLoader(device="cpu").load_from_file(run_dir / "tiny.safetensors").scale == 2
