from __future__ import annotations

from pathlib import Path

import pytest

from server.auth.access import Access
from server.errors import AccessDenied


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (folder / "photo.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    return folder


def test_a_file_in_an_allowed_folder_may_be_read(allowed: Path) -> None:
    assert Access([allowed]).readable(str(allowed / "photo.png")) == (allowed / "photo.png").resolve()


def test_a_relative_path_is_found_in_any_allowed_folder(allowed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert Access([other, allowed]).readable("photo.png") == (allowed / "photo.png").resolve()


@pytest.mark.parametrize(
    "path",
    ["{outside}", "{allowed}/../secret.png", "../secret.png", "/etc/passwd", "~", "{allowed}-evil/x.png", "a\0b"],
)
def test_paths_outside_are_refused(allowed: Path, tmp_path: Path, path: str) -> None:
    given = path.format(outside=tmp_path / "secret.png", allowed=allowed)
    with pytest.raises(AccessDenied, match="allow"):
        Access([allowed]).readable(given)


def test_a_link_that_leads_outside_is_refused(allowed: Path, tmp_path: Path) -> None:
    (allowed / "link.png").symlink_to(tmp_path / "secret.png")
    (allowed / "folder").symlink_to(tmp_path, target_is_directory=True)
    for path in ("link.png", "folder/secret.png"):
        with pytest.raises(AccessDenied):
            Access([allowed]).readable(path)


def test_a_link_that_leads_to_itself_is_refused(allowed: Path) -> None:
    (allowed / "loop").symlink_to(allowed / "loop")
    with pytest.raises(AccessDenied):
        Access([allowed]).readable("loop/photo.png")


def test_no_path_tells_which_accounts_there_are(allowed: Path) -> None:
    for name in ("~root/x.png", "~nobody-at-all/x.png"):
        assert Access([allowed]).readable(name) == allowed.resolve() / name


def test_refusal_says_the_same_whether_the_file_exists_or_not(allowed: Path, tmp_path: Path) -> None:
    messages = []
    for name in ("secret.png", "absent.png"):
        with pytest.raises(AccessDenied) as caught:
            Access([allowed]).readable(str(tmp_path / name))
        messages.append(str(caught.value).replace(name, ""))
    assert messages[0] == messages[1]


def test_without_allowed_folders_nothing_may_be_read(allowed: Path) -> None:
    with pytest.raises(AccessDenied, match="none"):
        Access([]).readable(str(allowed / "photo.png"))
