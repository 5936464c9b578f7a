"""The main job: from a file to a restored file, whatever the experts do, whatever stops it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from agent.errors import RunError
from agent.events import Event, Finished, RolledBack, StepFinished, StepStarted
from agent.folder import RunFolder
from agent.run import Restoration, restore_file, resume_run
from agent.state import KEEP_INPUT
from imaging.control import Control
from imaging.convert import from_numpy, to_float, to_numpy
from imaging.errors import Cancelled, OutputExists
from imaging.image import Image
from imaging.reading import read_image
from imaging.resizing import resize
from imaging.writing import write_image
from profiles.schema import Profile
from toolbox.card import ExpertCard
from toolbox.catalogue import Catalogue
from toolbox.expert import Expert
from toolbox.pool import ExpertPool
from toolbox.tasks import Task
from training.degradations import gaussian_noise

CLEAN = to_float(skimage.data.astronaut()[20:148, 150:278])
NOISY = np.clip(gaussian_noise(CLEAN, np.random.default_rng(0), 35), 0, 1)


@dataclass(frozen=True)
class ScriptedExpert:
    """An expert that does what a test says."""

    card: ExpertCard
    function: Callable[[Image], Image]

    def __call__(self, image: Image, control: Control) -> Image:
        control.check()
        return self.function(image)


class ScriptedPool(ExpertPool):
    """A toolbox of scripted experts."""

    def __init__(self, *experts: ScriptedExpert) -> None:
        super().__init__(Catalogue(tuple(expert.card for expert in experts)))
        self._scripted = {expert.card.name: expert for expert in experts}
        self.calls: list[str] = []

    def get(self, name: str) -> Expert:
        self.calls.append(name)
        return self._scripted[name]


def expert(name: str, task: Task, function: Callable[[Image], Image], scale: int = 1) -> ScriptedExpert:
    card = ExpertCard.model_validate(
        {
            "name": name,
            "task": task,
            "scale": scale,
            "loader": "classical",
            "function": "none:none",
            "about": "",
            "source": "",
        }
    )
    return ScriptedExpert(card, function)


def truth(image: Image) -> Image:
    """What an ideal denoiser gives."""
    return image.with_pixels(from_numpy(CLEAN))


def ruin(image: Image) -> Image:
    return image.with_pixels(1 - image.pixels.flip(-1))


def crash(image: Image) -> Image:
    raise RuntimeError("out of luck")


def enlarge(scale: int) -> Callable[[Image], Image]:
    return lambda image: image.with_pixels(resize(image.pixels, image.height * scale, image.width * scale))


PLAIN_2X = expert("plain_2x", Task.SUPER_RESOLUTION, enlarge(2), 2)


@pytest.fixture
def noisy_file(tmp_path: Path) -> Path:
    path = tmp_path / "noisy.png"
    write_image(Image(from_numpy(NOISY)), path)
    return path


def profile(**keys: object) -> Profile:
    return Profile.model_validate({"name": "test", "scale_factor": 2, "restore_option": "denoising", **keys})


def run(source: Path, wanted: Profile, pool: ExpertPool, **keys: object) -> Restoration:
    folder = source.parent
    return restore_file(source, folder / "out.png", wanted, runs=folder / "runs", experts=pool, **keys)  # type: ignore[arg-type]


def winners(restoration: Restoration) -> list[str | None]:
    return [node.expert for node in restoration.path_taken()[1:]]


def test_the_better_expert_wins_and_every_candidate_has_a_verdict(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool)
    assert winners(restoration) == ["ideal", "plain_2x"]
    assert {verdict.expert for verdict in restoration.path_taken()[1].verdicts} == {KEEP_INPUT, "ruin", "ideal"}


def test_the_result_has_the_promised_size_and_is_what_the_experts_made(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    result = read_image(run(noisy_file, profile(), pool).output)
    assert (result.width, result.height) == (256, 256)
    wanted = resize(from_numpy(CLEAN), 256, 256)
    assert float((result.pixels - wanted).abs().mean()) < 1 / 255


def test_the_longer_side_is_brought_to_exactly_what_was_asked(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("plain_4x", Task.SUPER_RESOLUTION, enlarge(4), 4), PLAIN_2X)
    wanted = profile(scale_factor=None, long_side=300, restore_option="super-resolution")
    result = read_image(run(noisy_file, wanted, pool).output)
    assert (result.width, result.height) == (300, 300)


def test_an_expert_that_the_profile_names_does_its_task_whatever_the_scores_say(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(experts=["ruin"]), pool)
    assert winners(restoration) == ["ruin", "plain_2x"]
    first = restoration.path_taken()[1]
    assert {verdict.expert for verdict in first.verdicts} == {KEEP_INPUT, "ruin"}
    assert not first.failed


def test_an_image_that_no_expert_improves_is_kept(noisy_file: Path) -> None:
    restoration = run(noisy_file, profile(), ScriptedPool(expert("ruin", Task.DENOISING, ruin), PLAIN_2X))
    assert winners(restoration) == [KEEP_INPUT, "plain_2x"]
    kept = resize(read_image(noisy_file).pixels, 256, 256)
    assert float((read_image(restoration.output).pixels - kept).abs().max()) <= 1 / 255


def test_a_failed_step_is_rolled_back_and_another_order_tried(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.BRIGHTENING, truth), PLAIN_2X)
    events: list[Event] = []
    wanted = profile(restore_option="denoising+brightening")
    restoration = run(noisy_file, wanted, pool, listener=events.append)
    assert [event.step.task for event in events if isinstance(event, RolledBack)] == [Task.DENOISING]
    # Denoising failed first, so brightening goes before it; on the clean picture denoising fails again and is left.
    assert [str(node.step) for node in restoration.path_taken()[1:]] == [
        "brightening",
        "denoising",
        "super_resolution 2x",
    ]
    assert winners(restoration) == ["ideal", KEEP_INPUT, "plain_2x"]


def test_steps_that_all_fail_are_each_tried_once_from_the_same_image(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin_a", Task.DENOISING, ruin), expert("ruin_b", Task.DEHAZING, ruin), PLAIN_2X)
    run(noisy_file, profile(restore_option="denoising+dehazing"), pool)
    assert sorted(pool.calls) == ["plain_2x", "ruin_a", "ruin_b"]


def test_nothing_is_enlarged_before_its_time_because_only_faces_are_left_to_begin_with(noisy_file: Path) -> None:
    face = expert("face", Task.FACE_RESTORATION, lambda image: image)
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), face, PLAIN_2X)
    restoration = run(noisy_file, profile(restore_option="denoising+face_restoration"), pool)
    steps = [str(node.step) for node in restoration.path_taken()[1:]]
    assert steps == ["denoising", "super_resolution 2x", "face_restoration"]
    assert pool.calls.count("ruin") == 1


def mixed(share: float) -> Callable[[Image], Image]:
    """So much nearer to the truth."""
    return lambda image: image.with_pixels(image.pixels + share * (from_numpy(CLEAN) - image.pixels))


def noisy_only(first: Callable[[Image], Image], later: Callable[[Image], Image]) -> Callable[[Image], Image]:
    """One thing done to the picture as it came, and another to every other one."""
    came = from_numpy(np.rint(NOISY * 255).astype(np.float32) / np.float32(255))

    def function(image: Image) -> Image:
        return (first if float((image.pixels - came).abs().max()) < 1e-3 else later)(image)

    return function


@pytest.mark.parametrize(
    ("denoise", "brighten", "path"),
    [
        (mixed(0.4), noisy_only(truth, ruin), ["brighten", KEEP_INPUT]),
        (noisy_only(truth, ruin), noisy_only(mixed(0.4), ruin), ["denoise", KEEP_INPUT]),
        (truth, ruin, ["denoise", KEEP_INPUT]),
    ],
    ids=["the second way is better", "the first way is better", "there is no second way"],
)
def test_where_no_order_helps_the_run_begins_again_from_its_input_and_the_better_end_is_taken(
    noisy_file: Path,
    denoise: Callable[[Image], Image],
    brighten: Callable[[Image], Image],
    path: list[str],
) -> None:
    pool = ScriptedPool(
        expert("denoise", Task.DENOISING, denoise), expert("brighten", Task.BRIGHTENING, brighten), PLAIN_2X
    )
    events: list[Event] = []
    restoration = run(noisy_file, profile(restore_option="denoising+brightening"), pool, listener=events.append)
    assert winners(restoration) == [*path, "plain_2x"]
    assert pool.calls[:3] == ["denoise", "brighten", "brighten"]
    back = next(event for event in events if isinstance(event, RolledBack))
    assert (back.step.task, back.to_node) == (Task.BRIGHTENING, 0)


def test_a_budget_that_is_spent_on_the_second_way_gives_the_better_end(noisy_file: Path) -> None:
    pool = ScriptedPool(
        expert("denoise", Task.DENOISING, truth),
        expert("brighten", Task.BRIGHTENING, noisy_only(mixed(0.4), ruin)),
        PLAIN_2X,
    )
    wanted = profile(restore_option="denoising+brightening", max_expert_runs=3)
    restoration = run(noisy_file, wanted, pool)
    assert pool.calls == ["denoise", "brighten", "brighten"]
    assert winners(restoration) == ["denoise", KEEP_INPUT]


def test_a_degradation_that_an_earlier_step_took_away_is_not_treated_again(tmp_path: Path) -> None:
    path = tmp_path / "noisy.jpg"
    write_image(Image(from_numpy(NOISY)), path, quality=25)
    pool = ScriptedPool(
        expert("both", Task.JPEG_ARTIFACT_REMOVAL, truth), expert("smooth", Task.DENOISING, truth), PLAIN_2X
    )
    both = profile(restore_option="jpeg_artifact_removal+denoising")
    restoration = run(path, both, pool)
    assert winners(restoration) == ["both", KEEP_INPUT, "plain_2x"]
    assert "smooth" not in pool.calls


def test_without_rollback_a_failed_step_is_simply_left_out(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ruin_a", Task.DENOISING, ruin), expert("ruin_b", Task.DEHAZING, ruin), PLAIN_2X)
    events: list[Event] = []
    wanted = profile(restore_option="denoising+dehazing", rollback=False)
    assert winners(run(noisy_file, wanted, pool, listener=events.append)) == [KEEP_INPUT, KEEP_INPUT, "plain_2x"]
    assert not any(isinstance(event, RolledBack) for event in events)


def test_an_expert_that_crashes_is_an_entry_in_the_trace_and_not_the_end(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("crash", Task.DENOISING, crash), expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool)
    assert winners(restoration)[0] == "ideal"
    errors = [verdict.error for verdict in restoration.path_taken()[1].verdicts if verdict.expert == "crash"]
    assert errors[0] is not None
    assert "out of luck" in errors[0]


def test_when_every_enlarger_fails_the_result_is_a_plain_resize(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("crash", Task.SUPER_RESOLUTION, crash, 2))
    result = read_image(run(noisy_file, profile(restore_option="super-resolution"), pool).output)
    assert (result.width, result.height) == (256, 256)


def test_a_spent_budget_ends_with_the_best_so_far_in_full_size(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(max_expert_runs=1), pool)
    assert pool.calls == ["ideal"]
    assert read_image(restoration.output).width == 256
    assert any("budget" in warning for warning in restoration.state.warnings)


def test_no_more_experts_run_than_the_budget_allows(noisy_file: Path) -> None:
    pool = ScriptedPool(*(expert(f"ideal_{n}", Task.DENOISING, truth) for n in range(3)), PLAIN_2X)
    restoration = run(noisy_file, profile(max_expert_runs=2), pool)
    assert pool.calls == ["ideal_0", "ideal_1"]
    assert winners(restoration) == ["ideal_0"]


def test_when_the_time_is_up_no_step_is_begun_and_the_size_is_kept(noisy_file: Path) -> None:
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(max_seconds=1e-6), pool)
    assert pool.calls == []
    assert read_image(restoration.output).width == 256
    assert any("the budget of 1e-06 seconds" in warning for warning in restoration.state.warnings)


def test_an_expert_of_a_forbidden_licence_is_not_run(noisy_file: Path) -> None:
    ideal = expert("ideal", Task.DENOISING, truth)
    forbidden = ScriptedExpert(ideal.card.model_copy(update={"commercial": "no"}), truth)
    other = expert("ruin", Task.DENOISING, ruin)
    run(noisy_file, profile(), pool := ScriptedPool(forbidden, other, PLAIN_2X))
    assert "ideal" not in pool.calls
    run(noisy_file, profile(non_commercial=True), pool, overwrite=True)
    assert "ideal" in pool.calls


def test_alpha_grey_depth_and_metadata_are_carried_through(tmp_path: Path) -> None:
    alpha = from_numpy(np.linspace(0, 1, 128 * 128, dtype=np.float32).reshape(128, 128))
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x0f\x00\x02\x00\x00\x00\x02A\x00\x00\x00\x00\x00\x00\x00"
    write_image(Image(from_numpy(NOISY), alpha, None, exif, bit_depth=16), tmp_path / "in.png")
    wanted = profile(restore_option="super-resolution")
    result = read_image(run(tmp_path / "in.png", wanted, ScriptedPool(PLAIN_2X)).output)
    assert result.bit_depth == 16
    assert result.exif is not None
    assert result.alpha is not None
    assert result.alpha.shape == (1, 256, 256)


def test_what_is_hidden_behind_a_cut_out_leaves_no_fringe_around_it(tmp_path: Path) -> None:
    alpha = from_numpy(np.pad(np.ones((64, 64), np.float32), 32))
    write_image(Image(alpha.expand(3, -1, -1) * 0.9, alpha), tmp_path / "in.png")  # a light square, black around it
    restoration = run(tmp_path / "in.png", profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X))
    result = read_image(restoration.output)
    assert result.alpha is not None
    assert float(result.pixels[:, result.alpha[0] > 0].min()) > 0.89


def test_the_report_shows_a_cut_out_on_white(tmp_path: Path) -> None:
    alpha = from_numpy(np.pad(np.ones((64, 64), np.float32), 32))
    write_image(Image(alpha.expand(3, -1, -1) * 0.2, alpha), tmp_path / "in.png")
    restoration = run(tmp_path / "in.png", profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X))
    for name in ("before", "after"):
        assert float(read_image(restoration.folder / f"{name}.jpg").pixels[:, 0, 0].min()) > 0.95


def test_a_grey_picture_stays_grey(tmp_path: Path) -> None:
    grey = from_numpy(NOISY).mean(0, keepdim=True).expand(3, -1, -1).contiguous()
    write_image(Image(grey, greyscale=True), tmp_path / "in.png")

    def tint(image: Image) -> Image:
        pixels = enlarge(2)(image).pixels.clone()
        pixels[0] += 0.05
        return image.with_pixels(pixels)

    pool = ScriptedPool(expert("tint", Task.SUPER_RESOLUTION, tint, 2))
    assert read_image(run(tmp_path / "in.png", profile(restore_option="super-resolution"), pool).output).greyscale


def test_an_existing_result_is_refused_before_any_work(noisy_file: Path) -> None:
    (noisy_file.parent / "out.png").write_bytes(b"precious")
    pool = ScriptedPool(PLAIN_2X)
    with pytest.raises(OutputExists):
        run(noisy_file, profile(), pool)
    assert (noisy_file.parent / "out.png").read_bytes() == b"precious"
    assert pool.calls == []


def test_the_trace_and_the_report_are_left_and_the_images_are_not(noisy_file: Path) -> None:
    events: list[Event] = []
    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool, listener=events.append)
    told = [event.event for event in events if event.event != "progress"]
    assert [event.event for event in RunFolder(restoration.folder).events()] == told
    assert told[0] == "started"
    assert told[-1] == "finished"
    assert restoration.report.stat().st_size > 1000
    assert "no picture" not in restoration.report.read_text("utf-8")
    assert not list((restoration.folder / "nodes").iterdir())


def test_progress_never_goes_back_and_ends_at_one(noisy_file: Path) -> None:
    events: list[Event] = []
    pool = ScriptedPool(expert("ruin", Task.DENOISING, ruin), expert("ideal", Task.DEHAZING, truth), PLAIN_2X)
    run(noisy_file, profile(restore_option="denoising+dehazing"), pool, listener=events.append)
    fractions = [event.fraction for event in events if event.event == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_the_parts_of_the_time_add_up(noisy_file: Path) -> None:
    started = time.perf_counter()
    restoration = run(noisy_file, profile(), ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X))
    assert 0 < sum(restoration.state.seconds.values()) <= time.perf_counter() - started
    assert {"reading", "perception", "experts", "scoring", "writing"} <= set(restoration.state.seconds)


@pytest.mark.parametrize("after", [StepStarted, StepFinished])
def test_a_cancelled_run_goes_on_to_the_same_result(noisy_file: Path, after: type[Event]) -> None:
    experts = (expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    whole = read_image(run(noisy_file, profile(), ScriptedPool(*experts)).output)
    control = Control()

    def stop(event: Event) -> None:
        if isinstance(event, after):
            control.cancel()

    with pytest.raises(Cancelled):
        run(noisy_file, profile(), ScriptedPool(*experts), overwrite=True, control=control, listener=stop)
    stopped = max((noisy_file.parent / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    resumed = resume_run(stopped, experts=ScriptedPool(*experts))
    assert np.array_equal(to_numpy(read_image(resumed.output).pixels), to_numpy(whole.pixels))


def test_a_run_that_was_stopped_before_it_looked_perceives_the_same(noisy_file: Path) -> None:
    photo = noisy_file.with_suffix(".jpg")
    write_image(Image(from_numpy(CLEAN)), photo, quality=30)
    wanted, pool = profile(restore_option="super-resolution"), ScriptedPool(PLAIN_2X)
    whole, control = run(photo, wanted, pool), Control()

    def stop(event: Event) -> None:
        control.cancel()

    with pytest.raises(Cancelled):
        run(photo, wanted, pool, overwrite=True, control=control, listener=stop)
    stopped = max((photo.parent / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    assert RunFolder(stopped).load_state().perception is None
    assert resume_run(stopped, experts=pool).state.perception == whole.state.perception


@pytest.mark.skipif(sys.platform != "linux", reason="files are limited as Linux does it")
def test_a_run_whose_disk_is_full_says_so_and_goes_on_where_there_is_room(noisy_file: Path) -> None:
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


def test_who_cancels_a_run_whose_result_is_written_gets_it(noisy_file: Path) -> None:
    control, events = Control(), list[Event]()

    def stop(event: Event) -> None:
        events.append(event)
        if isinstance(event, Finished):
            control.cancel()

    pool = ScriptedPool(expert("ideal", Task.DENOISING, truth), PLAIN_2X)
    restoration = run(noisy_file, profile(), pool, control=control, listener=stop)
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

    with pytest.raises(OutputExists, match="resume the run with another output, or with overwriting"):
        run(source, profile(), ScriptedPool(expert("ideal", Task.DENOISING, take), PLAIN_2X))
    assert taken.read_bytes() == b"precious"
    (folder,) = (source.parent / "runs").iterdir()
    return folder


def test_a_result_whose_name_was_taken_is_written_elsewhere(noisy_file: Path) -> None:
    folder = a_result_whose_name_was_taken(noisy_file)
    other = noisy_file.parent / "other.png"
    pool = ScriptedPool()
    resumed = resume_run(folder, output=other, experts=pool)
    assert resumed.output == other
    assert read_image(other).width == 256
    assert pool.calls == []
    assert resume_run(folder).output == other


def test_a_result_whose_name_was_taken_replaces_what_is_there(noisy_file: Path) -> None:
    folder = a_result_whose_name_was_taken(noisy_file)
    with pytest.raises(OutputExists):
        resume_run(folder, experts=ScriptedPool())
    resumed = resume_run(folder, overwrite=True, experts=ScriptedPool())
    assert resumed.output == noisy_file.parent / "out.png"
    assert read_image(resumed.output).width == 256


def test_a_finished_run_says_where_its_result_is_instead_of_giving_it_another_name(noisy_file: Path) -> None:
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
restore_file(folder / "noisy.png", folder / sys.argv[2], profile, runs=folder / sys.argv[3])
"""


def test_a_killed_run_is_resumed_from_its_last_finished_step_with_the_same_pixels(noisy_file: Path) -> None:
    folder = noisy_file.parent
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder), "whole.png", "a"], env=environment, check=True)
    killed = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), "killed.png", "b"], env=environment)
    deadline = time.monotonic() + 120
    while not any(b"step_finished" in trace.read_bytes() for trace in folder.glob("b/*/trace.jsonl")):
        assert killed.poll() is None, "the run was over before a step was seen"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (folder / "killed.png").exists()
    (run_folder,) = (folder / "b").iterdir()
    finished_before = len(RunFolder(run_folder).load_state().nodes)
    resumed = resume_run(run_folder)
    assert len(resumed.state.nodes) >= finished_before
    assert (folder / "killed.png").read_bytes() == (folder / "whole.png").read_bytes()


def test_another_profile_frees_the_experts_that_it_will_not_use(noisy_file: Path) -> None:
    pool = ExpertPool()
    only_enlarge = {"restore_option": "super_resolution"}
    for number, preference in enumerate(("perception", "fidelity")):
        wanted = profile(restore_preference=preference, **only_enlarge)
        output = noisy_file.parent / f"{number}.png"
        restore_file(noisy_file, output, wanted, runs=noisy_file.parent / "runs", experts=pool)
        experts = {card.name: card for card in pool.catalogue}
        kept = {experts[name].preference for name in pool.loaded() if name in experts}
        assert kept <= {preference, "any"}
        assert ("perception" in kept) == (preference == "perception")
