"""The report of a run: what it shows, and that it stands alone and is safe to open."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from agent.report.page import write_report
from agent.state import RunState
from imaging.errors import OutputError

VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """A page as a browser's parser meets it: complains of what is not well nested."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.markup = file.read_text("utf-8")
        self.feed(self.markup)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(text)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str]]:
        """The attributes of all elements of that tag, and class where given."""
        return [attrs for name, attrs in self.tags if name == tag and kind in (None, attrs.get("class"))]


def test_the_report_is_one_well_formed_page_in_the_run_folder(run_folder: Path, finished_run: RunState) -> None:
    file = write_report(finished_run, run_folder)
    assert file == run_folder / "report.html"
    page = Page(file)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert not list(run_folder.glob("*.part"))


def test_a_page_refers_to_nothing_outside_itself(run_folder: Path, finished_run: RunState) -> None:
    page = Page(write_report(finished_run, run_folder))
    without_pictures = re.sub(r"base64,[\w+/=]+", "", page.markup)
    assert not re.search(r"//\w|file:|url\(|@import", without_pictures)
    for _, attrs in page.tags:
        for key in ("src", "href", "data", "srcset"):
            assert attrs.get(key, "#").startswith(("data:image/jpeg;base64,", "#"))


def test_links_lead_to_places_on_the_page(run_folder: Path, finished_run: RunState) -> None:
    page = Page(write_report(finished_run, run_folder))
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = {attrs["href"][1:] for attrs in page.all("a")}
    assert links == {"step-1", "step-2", "step-3", "step-4"}
    assert links <= ids
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= ids


def test_hostile_strings_are_text(run_folder: Path, finished_run: RunState) -> None:
    page = Page(write_report(finished_run, run_folder))
    assert len(page.all("script")) == 1
    assert not [attrs for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert "<img src=x onerror=alert(2)> {size} $title & 'quoted'" in page.text
    assert Path(finished_run.source).name in page.text
    assert finished_run.perception
    assert finished_run.perception.description in page.text


def test_an_expert_whose_name_is_a_path_brings_no_file_from_elsewhere(tmp_path: Path, finished_run: RunState) -> None:
    run = tmp_path / "run"
    (run / "thumbnails" / "2-x").mkdir(parents=True)
    Pillow.new("RGB", (8, 8)).save(tmp_path / "secret.jpg")
    spy = finished_run.nodes[2].verdicts[0].model_copy(update={"expert": "x/../../../secret"})
    node = finished_run.nodes[2].model_copy(update={"verdicts": (spy,), "expert": "other"})
    page = Page(
        write_report(finished_run.model_copy(update={"nodes": (*finished_run.nodes[:2], node), "current": 2}), run)
    )
    assert "data:image" not in page.markup


def test_only_the_page_s_own_script_may_run(run_folder: Path, finished_run: RunState) -> None:
    page = Page(write_report(finished_run, run_folder))
    (policy,) = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}='(;|$)", policy)


def test_findings_are_listed_worst_first_with_their_measurements(run_folder: Path, finished_run: RunState) -> None:
    text = Page(write_report(finished_run, run_folder)).text
    assert "Noise high 91% – noise sigma 255 14.2" in text
    assert text.index("Noise high") < text.index("JPEG artifact medium") < text.index("Rain very low")


def test_sizes_time_plan_reasons_and_warnings_are_told(run_folder: Path, finished_run: RunState) -> None:
    text = Page(write_report(finished_run, run_folder)).text
    assert "256 × 192 → 1024 × 768" in text
    assert "19.5 s" in text
    assert "Super resolution 4×" in text
    assert "dehazing before denoising: noise would be amplified" in text
    assert "the profile asks for hpsv2, which is not here" in text
    assert "Experts 12.5 s 64%" in text


def test_every_candidate_has_one_card_and_the_winner_comes_first(run_folder: Path, finished_run: RunState) -> None:
    page = Page(write_report(finished_run, run_folder))
    assert len(page.all("li", kind="card won")) == 4
    assert len(page.all("li", kind="card lost")) == 8
    step = page.text[page.text.index("nlmeans chosen") :]
    assert step.index("nlmeans") < step.index("keep the input") < step.index("wavelet") < step.index("broken")
    assert "prescreened at 0.810" in step
    assert "prescreen score 0.777" in step
    assert "−0.250" in step
    assert "<dt>removal" not in page.markup  # the estimator is wrong about it too often
    assert '"removal":' not in page.text


def test_paths_to_an_enlargement_are_compared_by_their_best_candidates(
    run_folder: Path, finished_run: RunState
) -> None:
    assert 'id="paths"' not in write_report(finished_run, run_folder).read_text()
    *before, last = finished_run.nodes
    scores = {"lanczos.untouched": 0.72, "lanczos": 0.7, "bicubic": 0.69, "lanczos.half_cleaned": 0.71}
    tried = tuple(last.verdicts[0].model_copy(update={"expert": name, "score": of}) for name, of in scores.items())
    node = last.model_copy(update={"verdicts": tried, "expert": "lanczos.untouched"})
    page = Page(write_report(finished_run.model_copy(update={"nodes": (*before, node)}), run_folder))
    paths = page.text[page.text.index("The best result of each path") : page.text.index("Candidates")]
    cleaned = "JPEG artifact removal by deblock_tv Denoising by nlmeans"
    for path in (
        "Without cleaning chosen Super resolution 4× by lanczos score 0.720",
        f"Half cleaned {cleaned} Mean with the photo Super resolution 4× by lanczos score 0.710",
        f"Cleaned step by step {cleaned} Super resolution 4× by lanczos score 0.700",
    ):
        assert path in " ".join(paths.split())


def test_the_margin_compares_prescreened_with_prescreened(run_folder: Path, finished_run: RunState) -> None:
    text = Page(write_report(finished_run, run_folder)).text
    assert "nlmeans was chosen, 0.033 ahead of wavelet" in text
    assert "lanczos was chosen, 0.005 ahead of bicubic_backprojection" in text


def test_rolled_back_images_are_marked(run_folder: Path, finished_run: RunState) -> None:
    page = Page(write_report(finished_run, run_folder))
    assert [attrs["class"] for attrs in page.all("ol") if attrs.get("aria-label") == "Rolled back"] == [
        "nodes rolled-back"
    ]
    assert "Dehazing, input kept" in page.text
    assert "failed as the next step from here: Dehazing" in page.text
    assert len([attrs for _, attrs in page.tags if attrs.get("aria-current") == "step"]) == 1


def test_the_whole_run_can_be_read_back_from_the_page(run_folder: Path, finished_run: RunState) -> None:
    file = write_report(finished_run, run_folder)
    words = "".join(Page(file).words)
    start = words.index('{\n  "version"')
    read, _ = json.JSONDecoder().raw_decode(words[start:])
    assert RunState.model_validate(read) == finished_run


def test_an_unfinished_run_has_a_report(run_folder: Path, finished_run: RunState) -> None:
    (run_folder / "before.jpg").unlink()
    (run_folder / "after.jpg").unlink()
    going = finished_run.model_copy(update={"finished": False, "nodes": finished_run.nodes[:4], "current": 3})
    page = Page(write_report(going, run_folder))
    assert "This run is not finished. Remaining steps: Super resolution 4×." in page.text
    assert "So far" in page.text
    assert [attrs for attrs in page.all("img") if attrs.get("alt", "").endswith("before, 256 × 192")]


def test_a_run_that_has_only_started_has_a_report(tmp_path: Path, finished_run: RunState) -> None:
    nothing: dict[str, Any] = {"perception": None, "plan": None, "seconds": {}, "warnings": (), "finished": False}
    for nodes in ((), finished_run.nodes[:1]):
        started = finished_run.model_copy(update={**nothing, "nodes": nodes, "current": 0})
        page = Page(write_report(started, tmp_path))
        assert "There is no plan yet." in page.text
    assert "no picture" in page.text


def test_a_thumbnail_that_is_no_jpeg_is_left_out(run_folder: Path, finished_run: RunState) -> None:
    (run_folder / "thumbnails/3-nlmeans.jpg").write_bytes(b"<svg onload=alert(3)>")
    markup = Page(write_report(finished_run, run_folder)).markup
    assert base64.b64encode(b"<svg onload=alert(3)>").decode() not in markup


def test_the_size_of_a_page_does_not_grow_with_the_candidates(tmp_path: Path, finished_run: RunState) -> None:
    (tmp_path / "thumbnails").mkdir()
    noise = Pillow.effect_noise((320, 240), 90).convert("RGB")
    crowd = tuple(finished_run.nodes[2].verdicts[0].model_copy(update={"expert": f"expert{n}"}) for n in range(150))
    node = finished_run.nodes[2].model_copy(update={"verdicts": crowd})
    for one in crowd:
        noise.save(tmp_path / f"thumbnails/2-{one.expert}.jpg", quality=90)
    file = write_report(
        finished_run.model_copy(update={"nodes": (*finished_run.nodes[:2], node), "current": 2}), tmp_path
    )
    assert 1_000_000 < file.stat().st_size < 3_200_000
    assert "no picture" in Page(file).text


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, finished_run: RunState) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(finished_run, tmp_path / "missing")
