"""A model that loops, grows or crashes costs one process, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
from typer.testing import CliRunner

from server.cli import trial_process
from server.cli.app import app
from tests.processes import wait_for_end_of
from toolbox.store import ModelStore

REPOSITORY = Path(__file__).parents[3]
ADD = ["models", "add", "--task", "denoising", "--name", "mine", "--licence", "mine"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    return ModelStore()


def endless_graph(folder: Path) -> Path:
    """A graph that adds 0 to the picture 2^62 times."""
    make, number = onnx.helper.make_node, onnx.TensorProto.FLOAT
    picture = [onnx.helper.make_tensor_value_info(name, number, [1, 3, "h", "w"]) for name in ("picture", "result")]
    inside = [
        onnx.helper.make_tensor_value_info("count", onnx.TensorProto.INT64, []),
        onnx.helper.make_tensor_value_info("goes_on", onnx.TensorProto.BOOL, []),
        onnx.helper.make_tensor_value_info("now", number, [1, 3, "h", "w"]),
    ]
    outside = [
        onnx.helper.make_tensor_value_info("still", onnx.TensorProto.BOOL, []),
        onnx.helper.make_tensor_value_info("next", number, [1, 3, "h", "w"]),
    ]
    steps = [make("Identity", ["goes_on"], ["still"]), make("Add", ["now", "zero"], ["next"])]
    body = onnx.helper.make_graph(steps, "body", inside, outside)
    values = {"times": np.array(2**62, np.int64), "true": np.array(True), "zero": np.zeros(1, np.float32)}
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in values.items()]
    loop = make("Loop", ["times", "true", "picture"], ["result"], body=body)
    graph = onnx.helper.make_graph([loop], "endless", picture[:1], picture[1:], constants)
    file = folder / "endless.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def growing_checkpoint(folder: Path) -> Path:
    """A file of some kilobytes whose network has 10 GB: its weights are one number, repeated."""
    features = 16_400
    weights = SRVGGNetCompact(num_feat=1, num_conv=1, upscale=1).state_dict()
    sides = {1: features}
    large = {
        name: torch.zeros(1).expand(
            [sides.get(side, side) if place < 2 else side for place, side in enumerate(one.shape)]
        )
        for name, one in weights.items()
    }
    torch.save({"params": large}, folder / "growing.pth")
    return folder / "growing.pth"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_file_that_grows_is_refused(store: ModelStore, tmp_path: Path) -> None:
    file = growing_checkpoint(tmp_path)
    assert file.stat().st_size < 100_000
    result = CliRunner().invoke(app, [*ADD, str(file)])
    assert result.exit_code == 2
    assert "growing.pth" in result.stderr
    assert "alloc" in result.stderr
    assert list(store.folder.iterdir()) == []


def test_a_model_that_does_not_end_in_time_is_refused(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_process, "MOST_SECONDS", 0.5)
    result = CliRunner().invoke(app, [*ADD, str(endless_graph(tmp_path))])
    assert result.exit_code == 2
    assert "endless.onnx takes longer" in result.stderr
    assert list(store.folder.iterdir()) == []


TELLING_ITS_CHILD = """
import imaging.child
from server.cli.app import main
send = imaging.child.Child.send
def send_and_tell(child, *request):
    send(child, *request)
    print(child._process.pid, flush=True)
imaging.child.Child.send = send_and_tell
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_a_signal_ends_a_trial_and_its_process(
    number: signal.Signals, code: int, store: ModelStore, tmp_path: Path
) -> None:
    old = store.folder / ".adding-long-ago"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    command = [sys.executable, "-c", TELLING_ITS_CHILD, *ADD, str(endless_graph(tmp_path))]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup ignores it for all its children
    ) as process:
        assert process.stdout
        child = process.stdout.readline()
        assert child, process.stderr and process.stderr.read()
        process.send_signal(number)
        try:
            assert process.wait(120) == code
        finally:
            process.kill()
    wait_for_end_of(int(child))
    assert not old.exists()
    if code > 0:
        assert list(store.folder.iterdir()) == []


def test_names_and_licences_that_are_not_unicode_are_escaped(store: ModelStore, tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    network = SRVGGNetCompact(num_feat=8, num_conv=1, upscale=1)
    torch.save(network.state_dict(), tmp_path / f"{odd}.pth")
    arguments = ["models", "add", str(tmp_path / f"{odd}.pth"), "--task", "denoising", "--name", "mine"]
    result = CliRunner().invoke(app, [*arguments, "--licence", odd])
    assert result.exit_code == 0, result.output
    (card,) = store.custom_cards()
    assert card.read_text("utf-8").count("caf\\\\udce9") == 2
