"""Whatever stops a run, it goes on to the same result, and nothing that is finished is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.errors import RunError
from agent.events import Event, Finished, StepFinished, StepStarted
from agent.run import restore_file, resume_run
from agent.run_folder import RunFolder
from imaging.convert import from_numpy, to_numpy
from imaging.errors import Cancelled, OutputExists
from imaging.image import Image
from imaging.progress import ProgressToken
from imaging.reading import read_image
from imaging.writing import write_image
from profiles.loading import load_profile
from tests.agent.scripted import (
    CLEAN,
    PLAIN_2X,
    ScriptedPool,
    expert,
    profile,
    run,
    trace,
    truth,
    winners,
)
from toolbox.tasks import Task


@pytest.mark.parametrize("after", [StepStarted, StepFinished])
def test_a_cancelled_run_resumes_to_the_same_result(noisy_file: Path, after: type[Event]) -> None:
    experts = (expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    whole = read_image(run(noisy_file, profile(), ScriptedPool(*experts)).output)
    token = ProgressToken()

    def stop(event: Event) -> None:
        if isinstance(event, after):
            token.cancel()

    with pytest.raises(Cancelled):
        run(noisy_file, profile(), ScriptedPool(*experts), overwrite=True, token=token, listener=stop)
    stopped = max((noisy_file.parent / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    resumed = resume_run(stopped, experts=ScriptedPool(*experts))
    assert np.array_equal(to_numpy(read_image(resumed.output).pixels), to_numpy(whole.pixels))


def test_a_run_stopped_before_perception_resumes_with_the_same_perception(noisy_file: Path) -> None:
    photo = noisy_file.with_suffix(".jpg")
    write_image(Image(from_numpy(CLEAN)), photo, quality=30)
    wanted, pool = profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X)
    whole, token = run(photo, wanted, pool), ProgressToken()

    def stop(event: Event) -> None:
        token.cancel()

    with pytest.raises(Cancelled):
        run(photo, wanted, pool, overwrite=True, token=token, listener=stop)
    stopped = max((photo.parent / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    assert RunFolder(stopped).load_state().perception is None
    assert resume_run(stopped, experts=pool).state.perception == whole.state.perception


@pytest.mark.skipif(sys.platform != "linux", reason="files are limited as Linux does it")
def test_a_full_disk_ends_a_run_which_is_resumed_once_there_is_space(noisy_file: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(image: Image) -> Image:
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, before[1]))  # a state fits, an image does not
        return truth(image)

    full = expert("ideal", Task.DENOISING, fill_the_disk)
    try:
        with pytest.raises(RunError, match=r"1\.npz cannot be written: File too large; free or unlock its disk"):
            run(noisy_file, profile(), ScriptedPool(full, PLAIN_2X))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (stopped,) = (noisy_file.parent / "runs").iterdir()
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    assert winners(resume_run(stopped, experts=pool)) == ["ideal", "plain_2x"]


def test_a_run_cancelled_after_its_result_is_written_is_finished(noisy_file: Path) -> None:
    token, events = ProgressToken(), list[Event]()

    def stop(event: Event) -> None:
        events.append(event)
        if isinstance(event, Finished):
            token.cancel()

    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool, token=token, listener=stop)
    assert restoration.state.finished
    assert restoration.output.exists()
    assert events[-1].event == "progress"


def test_a_finished_run_is_only_returned(noisy_file: Path) -> None:
    restoration = run(noisy_file, profile(), ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X))
    written = restoration.output.stat().st_mtime_ns
    assert resume_run(restoration.folder, experts=ScriptedPool()).state == restoration.state
    assert restoration.output.stat().st_mtime_ns == written
    restoration.output.unlink()
    with pytest.raises(RunError, match=r"is gone; restore .*noisy\.png again"):
        resume_run(restoration.folder, experts=ScriptedPool())


def a_result_whose_name_was_taken(source: Path) -> Path:
    """The folder of a run that found somebody else's file at its end."""
    taken = source.parent / "out.png"

    def take(image: Image) -> Image:
        taken.write_bytes(b"precious")
        return truth(image)

    with pytest.raises(OutputExists, match="resume the run with another output, or ask for overwriting"):
        run(source, profile(), ScriptedPool(expert("ideal", Task.DENOISING, take), PLAIN_2X))
    assert taken.read_bytes() == b"precious"
    (folder,) = (source.parent / "runs").iterdir()
    return folder


def test_a_result_whose_output_name_is_taken_is_written_to_another(noisy_file: Path) -> None:
    folder = a_result_whose_name_was_taken(noisy_file)
    other = noisy_file.parent / "other.png"
    pool = ScriptedPool()
    resumed = resume_run(folder, output=other, experts=pool)
    assert resumed.output == other
    assert read_image(other).width == 256
    assert pool.calls == []
    assert resume_run(folder).output == other


def test_a_result_whose_output_name_is_taken_replaces_the_file_on_request(noisy_file: Path) -> None:
    folder = a_result_whose_name_was_taken(noisy_file)
    with pytest.raises(OutputExists):
        resume_run(folder, experts=ScriptedPool())
    resumed = resume_run(folder, overwrite=True, experts=ScriptedPool())
    assert resumed.output == noisy_file.parent / "out.png"
    assert read_image(resumed.output).width == 256


def test_a_finished_run_cannot_be_resumed_to_another_output(noisy_file: Path) -> None:
    restoration = run(noisy_file, profile(), ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X))
    with pytest.raises(RunError, match=re.escape(str(restoration.output))):
        resume_run(restoration.folder, output=noisy_file.parent / "other.png")


SCRIPT = """
import sys
from pathlib import Path
from agent.run import restore_file
from profiles.loading import load_profile
folder = Path(sys.argv[1])
profile = load_profile("default").model_copy(update={"scale_factor": 2})
tell = lambda event: print(event.event, flush=True)
restore_file(folder / "noisy.png", folder / sys.argv[2], profile, runs=folder / sys.argv[3], listener=tell)
"""


def test_a_killed_run_is_resumed_from_its_last_finished_step_with_the_same_pixels(noisy_file: Path) -> None:
    folder = noisy_file.parent
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    twice = load_profile("default").model_copy(update={"scale_factor": 2})
    restore_file(noisy_file, folder / "whole.png", twice, runs=folder / "a")
    command = [sys.executable, "-c", SCRIPT, str(folder), "killed.png", "b"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        assert "step_finished\n" in killed.stdout, "the run was over before a step was seen"
        killed.send_signal(signal.SIGKILL)
    assert not (folder / "killed.png").exists()
    (run_folder,) = (folder / "b").iterdir()
    finished_before = len(RunFolder(run_folder).load_state().nodes)
    resumed = resume_run(run_folder)
    assert len(resumed.state.nodes) >= finished_before
    assert (folder / "killed.png").read_bytes() == (folder / "whole.png").read_bytes()


KILLED_AT_NAMING = """
import os, signal, sys
from pathlib import Path
import imaging.atomic
from agent.run import restore_file
from profiles.schema import Profile

name_it = imaging.atomic.rename_new
def name_and_die(source, target):
    if sys.argv[2] == "after":
        name_it(source, target)
    os.kill(os.getpid(), signal.SIGKILL)
imaging.atomic.rename_new = name_and_die
folder, quick = Path(sys.argv[1]), Profile(name="quick", plan=(), long_side=128)
restore_file(folder / "noisy.png", folder / "out.png", quick, runs=folder / "runs")
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_killed_beside_the_naming_of_its_result_knows_it_and_leaves_nothing(
    noisy_file: Path, moment: str
) -> None:
    folder = noisy_file.parent
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", KILLED_AT_NAMING, str(folder), moment]
    assert subprocess.run(command, env=environment, timeout=300, check=False).returncode == -signal.SIGKILL
    (run_folder,) = (folder / "runs").iterdir()
    assert not RunFolder(run_folder).load_state().finished
    assert (folder / "out.png").exists() == (moment == "after")
    resumed = resume_run(run_folder)
    assert resumed.state.finished
    assert read_image(resumed.output).long_side == 128
    assert isinstance(trace(run_folder)[-1], Finished)
    assert {file.name for file in folder.iterdir()} == {"noisy.png", "out.png", "runs"}
    assert list((run_folder / "nodes").iterdir()) == []
    if moment == "after":  # the file of somebody else is not taken for the result
        changed = RunFolder(run_folder).load_state().model_copy(update={"finished": False})
        RunFolder(run_folder).save_state(changed)
        (folder / "out.png").write_bytes(b"precious")
        with pytest.raises(OutputExists):
            resume_run(run_folder)


def test_only_one_process_works_on_a_run(noisy_file: Path) -> None:
    refused = list[str]()

    def work_too(event: Event) -> None:
        if isinstance(event, StepFinished):
            (folder,) = (noisy_file.parent / "runs").iterdir()
            with pytest.raises(RunError) as caught:
                resume_run(folder)
            refused.append(caught.value.message)

    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool, listener=work_too)
    assert refused
    assert all("another process works on run" in message for message in refused)
    assert resume_run(restoration.folder).state == restoration.state
