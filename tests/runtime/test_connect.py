"""A Ray cluster that is started here: its token is private, and clusters of other users are ignored."""

import os
import stat
from pathlib import Path

import pytest

from emotune.runtime.cluster.connect import is_announced, protect_token


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_token_is_private_and_is_kept(token: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        protect_token(create=True)
    finally:
        os.umask(before)
    content = token.read_text()
    assert len(bytes.fromhex(content)) == 32
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert list(token.parent.iterdir()) == [token]
    protect_token(create=True)
    assert token.read_text() == content


def test_a_readable_token_becomes_private(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("a" * 64)
    token.chmod(0o644)
    protect_token(create=False)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == "a" * 64


@pytest.mark.parametrize(
    "variable", [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "t"), ("RAY_AUTH_TOKEN_PATH", "/run/token")]
)
def test_no_token_is_created_if_the_environment_decides(
    token: Path, monkeypatch: pytest.MonkeyPatch, variable: tuple
) -> None:
    monkeypatch.setenv(*variable)
    protect_token(create=True)
    assert not token.exists()


def test_no_token_is_created_to_join_a_cluster(token: Path) -> None:
    protect_token(create=False)
    assert not token.exists()


def test_the_address_file_of_another_user_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert not is_announced()
    word = tmp_path / "ray" / "ray_current_cluster"
    word.parent.mkdir()
    word.write_text("192.0.2.1:6379")
    assert is_announced()
    if os.getuid() == 0:
        os.chown(word, 65534, 65534)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 65534)
    assert not is_announced()
