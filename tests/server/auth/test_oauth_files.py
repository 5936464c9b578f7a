"""The file of an OAuth server's people: what it says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.auth.clients import Tokens
from server.auth.oauth import callers_of, load_oauth
from server.errors import RequestError

GOOD = """issuer = "https://login.example.org/"
keys = "https://login.example.org/jwks"
resource = "https://photos.example.org/mcp"
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "issuer"),
        (GOOD, "allows no client"),
        (GOOD.replace("https://login.example.org/jwks", "http://login.example.org/jwks") + "others=true", "https"),
        (GOOD.replace("https://login.example.org/jwks", "file:///etc/passwd") + "others=true", "URL scheme"),
        (GOOD + 'others = true\nalgorithms = ["HS256"]', "algorithms"),
        (GOOD + 'others = true\nalgorithms = ["none"]', "algorithms"),
        (GOOD + "others = true\nalgorithms = []", "algorithms"),
        (GOOD + '[people."../x"]\nsubject = "a"', "should match pattern"),
        (GOOD + '[people.a]\nsubject = "a"\n[people.b]\nsubject = "a"', "the same subject"),
        (GOOD + '[people.a]\nsubject = ""', "at least 1"),
        (GOOD + "client_secret = 'x'", "client_secret"),
        ("[[[", "not TOML"),
    ],
)
def test_invalid_oauth_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "oauth.toml"
    file.write_text(text)
    with pytest.raises(RequestError, match=message):
        load_oauth(file)


def test_an_oauth_file_assigns_folders_to_people(tmp_path: Path) -> None:
    file = tmp_path / "oauth.toml"
    file.write_text(GOOD + '[people.alice]\nsubject = "auth0|1"\nallow = ["/photos"]\n')
    callers = callers_of(None, file)
    assert callers
    assert callers.folders("alice") == (Path("/photos"),)
    assert str(callers.auth.issuer_url) == "https://login.example.org/"
    with pytest.raises(RequestError, match="exclude each other"):
        callers_of(file, file)
    assert not isinstance(callers, Tokens)
