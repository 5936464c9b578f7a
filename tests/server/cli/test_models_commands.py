"""`restore4k models`: what a profile wants, licences that must be accepted, files that come and go."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from imaging.progress import ProgressToken
from server.cli.app import app
from server.cli.downloads import STARTER_SET, choose_to_pull, downloads_for_profile
from toolbox.catalogue import default_catalogue
from toolbox.store import ModelStore, WeightFile
from toolbox.tasks import Task

CONTENT = b"weights, as far as a download can tell"
Command = Callable[..., Result]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """The command line, with a server in the place of the web."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    sites, here = (
        ("github.com", "huggingface.co", "raw.githubusercontent.com"),
        f"http://127.0.0.1:{http.server_port}",
    )
    monkeypatch.setenv("RESTORE4K_MIRRORS", ",".join(f"https://{site}={here}" for site in sites))
    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    yield lambda *arguments: CliRunner().invoke(app, ["models", *arguments])
    http.shutdown()
    http.server_close()


def test_a_free_model_is_pulled_verified_and_removed(models: Command) -> None:
    pulled = json.loads(models("pull", "safmn_bcie", "--json").stdout)["files"]
    assert [Path(file).read_bytes() for file in pulled] == [CONTENT]
    assert "ok SAFMN_BCIE.pth" in models("verify").stdout
    assert state_of(models, "safmn_bcie") == "ready"
    models("remove", "safmn_bcie")
    assert not list(ModelStore().files())


def test_a_licence_that_restricts_is_shown_and_accepted_once_for_all_its_models(models: Command) -> None:
    refused = models("pull", "restormer_derain")
    assert refused.exit_code == 2
    assert "non-commercial" in refused.stderr
    assert "--accept" in refused.stderr
    assert not list(ModelStore().files())
    assert models("pull", "restormer_derain", "--accept").exit_code == 0
    assert models("pull", "mirnetv2_lol").exit_code == 0


def test_a_model_of_several_files_is_pulled_verified_and_removed(models: Command) -> None:
    assert models("pull", "sd_x4_upscaler").exit_code == 2, "its licence is to be read"
    pulled = json.loads(models("pull", "sd_x4_upscaler", "--accept", "--json").stdout)["files"]
    card = default_catalogue().card("sd_x4_upscaler")
    assert pulled == [str(ModelStore().path(file.name)) for file in card.files]
    assert {Path(file).parent.name for file in pulled} > {"unet", "vae", "text_encoder", "tokenizer", "scheduler"}
    assert models("verify", "sd_x4_upscaler").stdout.count("ok ") == len(pulled) == 12
    assert state_of(models, "sd_x4_upscaler") == "ready"
    ModelStore().path(card.files[3].name).write_bytes(b"changed")
    assert "sha256" in models("verify", "sd_x4_upscaler").stderr
    models("remove", "sd_x4_upscaler")
    assert not any(Path(file).exists() for file in pulled)
    assert state_of(models, "sd_x4_upscaler") == "can be pulled"


def test_a_file_shared_by_two_experts_stays_when_one_is_removed(models: Command) -> None:
    store = ModelStore()
    for file in default_catalogue().card("osediff").files:
        store.path(file.name).parent.mkdir(parents=True, exist_ok=True)
        store.path(file.name).write_bytes(CONTENT)
    assert state_of(models, "osediff") == "ready"
    assert state_of(models, "pisasr") == "by hand"
    models("remove", "osediff")
    assert state_of(models, "osediff") == "can be pulled"
    assert state_of(models, "stable-diffusion-2-1-base") == "ready"
    models("remove", "stable-diffusion-2-1-base")
    assert state_of(models, "stable-diffusion-2-1-base") == "can be pulled"


def test_wrong_bytes_in_a_model_of_several_files_are_refused(models: Command) -> None:
    result = models("pull", "stable-diffusion-2-1-base", "--accept")
    assert result.exit_code == 2
    assert "unet/config.json offers 38 bytes, not 911" in result.stderr
    assert state_of(models, "osediff") == "can be pulled"


def state_of(models: Command, name: str) -> str:
    listed = {one["name"]: one["state"] for one in json.loads(models("list", "--json").stdout)["models"]}
    return str(listed[name])


def test_a_file_with_wrong_bytes_is_not_a_model(models: Command) -> None:
    result = models("pull", "realesr_general_x4")
    assert result.exit_code == 2
    assert "realesr-general-x4v3.pth" in result.stderr
    assert not list(ModelStore().files())


@pytest.mark.parametrize(
    ("name", "message"),
    [("drct", "download it from"), ("maxim_derain", "export it to"), ("pisasr", "pisa_sr.pkl into")],
)
def test_files_to_download_by_hand_say_how(name: str, message: str, models: Command) -> None:
    result = models("pull", name)
    assert result.exit_code == 2
    assert message in result.stderr


def test_all_is_all_that_can_be_fetched(models: Command, tmp_path: Path) -> None:
    chosen = choose_to_pull(ModelStore(tmp_path), ["all"])
    assert all(file.urls for download in chosen for file in download.files)
    assert len(chosen) > 40


def test_an_unknown_name_is_reported_with_similar_ones(models: Command) -> None:
    result = models("pull", "safnm_bcie")
    assert result.exit_code == 2
    assert "safmn_bcie" in result.stderr


def test_the_models_folder_is_printed(models: Command, tmp_path: Path) -> None:
    assert models("path").stdout.strip() == str(tmp_path / "models")


@pytest.mark.parametrize(
    ("profile", "non_commercial", "wanted", "unwanted"),
    [
        (
            "Gen4K-P",
            False,
            {"hat_gan", "swinir_gan", "gfpgan", "kbnet_derain", "osediff"},
            {"hat_psnr", "restormer_derain", "pisasr"},
        ),
        ("Gen4K-P", True, {"hat_gan", "codeformer", "restormer_derain"}, {"hat_psnr", "mirnetv2_lol"}),
        ("Gen4K-F", False, {"hat_psnr", "swinir_psnr", "fbcnn_blind"}, {"hat_gan", "codeformer"}),
        ("ExpSR-s4-F", False, {"hat_psnr"}, {"hat_gan", "gfpgan", "kbnet_derain"}),
    ],
)
def test_a_profile_pulls_what_its_runs_can_use(
    profile: str, non_commercial: bool, wanted: set[str], unwanted: set[str], tmp_path: Path
) -> None:
    chosen = downloads_for_profile(ModelStore(tmp_path), profile, non_commercial)
    files = {download.files[0].name for download in chosen}
    assert files >= {file_of(name) for name in wanted}
    assert not files & {file_of(name) for name in unwanted}
    assert all(file.urls for download in chosen for file in download.files)
    assert len(files) == len(chosen)


def file_of(name: str) -> str:
    file = default_catalogue().card(name).file
    assert file is not None
    return file.name


def test_no_profile_pulls_what_forbids_commercial_use_by_itself(tmp_path: Path) -> None:
    assert {download.commercial for download in downloads_for_profile(ModelStore(tmp_path), "Gen4K-P")} <= {
        "yes",
        "ask",
    }


def test_a_free_model_can_be_pulled_for_every_task_of_4kagent_that_has_one() -> None:
    pullable = {
        card.task
        for card in default_catalogue()
        if card.commercial == "yes" and any(file.urls for file in card.files)
    }
    assert set(Task) - pullable == {
        Task.BRIGHTENING,
        Task.DEFOCUS_DEBLURRING,
        Task.DEHAZING,
        Task.OLD_PHOTO_RESTORATION,
    }


def test_the_starter_set_is_small_free_and_verified_and_says_what_it_gains(tmp_path: Path) -> None:
    chosen = choose_to_pull(ModelStore(tmp_path), ["starter"])
    assert {download.name for download in chosen} == STARTER_SET.keys()
    files = [file for download in chosen for file in download.files]
    assert sum(file.size or 1 << 40 for file in files) < 250_000_000
    assert all(file.sha256 for file in files)
    assert {download.commercial for download in chosen} == {"yes"}


@pytest.mark.parametrize(("answer", "pulled"), [("n\n", False), ("y\n", True)])
def test_the_starter_set_is_shown_and_asked_for_once(
    answer: str, pulled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def pull(file: WeightFile, store: ModelStore, token: ProgressToken) -> Path:
        asked.append(file.name)
        return Path(file.name)

    monkeypatch.setenv("RESTORE4K_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("server.cli.console.Answer.can_ask", True)
    monkeypatch.setattr("toolbox.downloading.pull", pull)
    result = CliRunner().invoke(app, ["models", "pull", "starter"], input=answer)
    assert "yunet" in result.stderr
    assert "Download 183 MB" in result.stderr
    assert (len(asked) == len(STARTER_SET)) == pulled
    assert bool(asked) == pulled
