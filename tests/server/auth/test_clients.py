"""The file of clients and their tokens: what it says, what is refused, and that no token is logged."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.auth.clients import load_clients
from server.errors import RequestError

TOKEN = "alice-" + "x" * 40


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("[alice]\ntoken = 'short-and-secret'", 0o600, "32 characters"),
        ("[alice]\ntoken = '{token}'", 0o644, "can be read by others"),
        ("[alice]\ntoken = '{token}'\n[bob]\ntoken = '{token}'", 0o600, "two clients with the same token"),
        ("['../x']\ntoken = '{token}'", 0o600, "should match pattern"),
        ("[alice]\ntoken = '{token}'\nadmin = true", 0o600, "Extra inputs"),
        ("[alice]\ntoken = '{token}", 0o600, "not TOML"),
        ("", 0o600, "no clients"),
    ],
)
def test_invalid_clients_files_are_refused_without_revealing_a_token(
    tmp_path: Path, text: str, mode: int, message: str
) -> None:
    file = tmp_path / "clients.toml"
    file.write_text(text.replace("{token}", TOKEN))
    file.chmod(mode)
    with pytest.raises(RequestError) as caught:
        load_clients(file)
    assert message in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "short-and-secret" not in str(caught.value)


def test_a_clients_file_assigns_folders_to_clients(tmp_path: Path) -> None:
    file = tmp_path / "clients.toml"
    file.write_text(f"[alice]\ntoken = '{TOKEN}'\nallow = ['/photos']\n")
    file.chmod(0o600)
    client = load_clients(file)["alice"]
    assert client.allow == (Path("/photos"),)
    assert TOKEN not in repr(client)
