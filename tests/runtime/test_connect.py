"""A Ray cluster that is started here: its token is private, and clusters of other users are ignored."""

import os
import stat
from pathlib import Path

import pytest

from emotune.errors import ClusterError
from emotune.runtime.cluster import connect as module
from emotune.runtime.cluster.connect import START_ATTEMPTS, connect, is_announced, protect_token


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
    address = tmp_path / "ray" / "ray_current_cluster"
    address.parent.mkdir()
    address.write_text("192.0.2.1:6379")
    assert is_announced()
    if os.getuid() == 0:
        os.chown(address, 65534, 65534)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 65534)
    assert not is_announced()


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(module, "listen_on_loopback", lambda: None)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("failures", range(START_ATTEMPTS + 1))
def test_a_start_that_fails_twice_is_one_line_with_the_logs(
    failures: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    def init(**options: object) -> None:
        assert options["address"] == "local"
        attempts.append(len(attempts))
        if len(attempts) <= failures:
            raise RuntimeError("Timed out waiting for file gcs_server_port\nand more lines")

    monkeypatch.setattr("ray.init", init)
    if failures < START_ATTEMPTS:
        connect(1)
    else:
        with pytest.raises(ClusterError, match="Timed out waiting for file gcs_server_port") as refused:
            connect(1)
        assert "\n" not in str(refused.value)
        assert "/tmp/ray/session_latest/logs" in str(refused.value)
    assert len(attempts) == min(failures + 1, START_ATTEMPTS)
    assert caplog.text.count("is started again") == min(failures, START_ATTEMPTS - 1)


@pytest.mark.usefixtures("no_cluster")
def test_a_path_that_is_too_long_is_refused_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 100)
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    with pytest.raises(ClusterError, match=r"^Ray cannot start: ray folder: .* set RAY_TMPDIR to at most \d+ bytes$"):
        connect(1)


@pytest.mark.usefixtures("no_cluster")
def test_a_cluster_that_cannot_be_joined_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")

    def init(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify one")

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(
        ClusterError,
        match=r"^the Ray cluster at 192.0.2.1:6379 cannot be used: ConnectionError: Could not .* RAY_ADDRESS",
    ):
        connect(1)
