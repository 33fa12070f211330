"""Each problem is reported in one line, with its remedy."""

import contextlib
import http.server
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from ray._common.utils import get_default_ray_temp_dir
from ray._private.utils import validate_socket_filepath
from ray.autoscaler._private.command_runner import SSHOptions

from emotune.cli.actions.doctor import as_line
from emotune.cli.doctor import doctor
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.doctor import host
from emotune.doctor.cluster import HostReply, check_dashboard, compare_hosts
from emotune.doctor.findings import Finding
from emotune.doctor.host import HostReport, check_packages, check_storage, check_store, check_token, versions
from emotune.doctor.host_keys import RAY_OPTIONS, check_host_keys
from emotune.doctor.ray_start import MAX_SOCKET_PATH_BYTES, SOCKET, check_open_files, check_ray_folder, ray_folder
from emotune.errors import SettingsError
from emotune.tracking.connection_check import UnreachableError, check_connection, refuse_damaged_database


@contextlib.contextmanager
def answering(status: int) -> Iterator[str]:
    """Serve one HTTP status for all requests."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"this is no JSON")

        do_POST = do_GET  # noqa: N815 (the names are the base's)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def states(findings: Iterator[Finding] | list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def test_this_environment_is_as_required() -> None:
    assert states(list(check_packages())) == ["ok"]


def test_a_missing_and_an_unfit_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["numpy>=99", "no-such-package", "x; extra == 's3'"])
    (finding,) = check_packages()
    assert finding.state == "fail"
    assert "numpy" in finding.found
    assert "no-such-package is missing" in finding.found
    assert "make setup" in finding.cure


def test_a_storage_folder_that_cannot_be_used_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=10**12))
    assert states(check_storage(tmp_path / "new" / "results")) == ["ok"]
    assert not (tmp_path / "new").exists(), "the check creates nothing"
    (tmp_path / "file").touch()
    assert states(check_storage(tmp_path / "file")) == ["fail"]
    (other,) = check_storage(tmp_path, marker=".written-by-the-driver")
    assert other.state == "fail"
    assert "mount" in other.cure
    (tmp_path / ".written-by-the-driver").touch()
    assert states(check_storage(tmp_path, marker=".written-by-the-driver")) == ["ok"]
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=10**9))
    (nearly_full,) = check_storage(tmp_path)
    assert nearly_full.state == "warn"
    assert "free some space" in nearly_full.cure


def test_a_missing_store_is_reported(tmp_path: Path) -> None:
    assert check_store(tmp_path).state == "fail"
    settings = PrepareSettings(seconds=1.0)
    corpus = Synthetic(subjects=2, seconds_per_state=4.0)
    prepare("synthetic", folder=None, store=tmp_path / "store", settings=settings, corpus_settings=corpus)
    assert check_store(tmp_path / "store").state == "ok"


def test_a_token_that_others_can_read_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "token"
    environment = {"RAY_AUTH_TOKEN_PATH": str(path)}
    assert check_token(environment).state == "ok", "there need not be one before Ray is started"
    assert check_token(environment | {"RAY_AUTH_MODE": "token"}).state == "fail"
    assert check_token(environment | {"RAY_AUTH_MODE": "disabled"}).state == "warn"
    assert check_token(environment | {"RAY_AUTH_TOKEN": "t0ken"}).found == "in RAY_AUTH_TOKEN"
    path.write_text("t0ken")
    path.chmod(0o644)
    assert "chmod 600" in check_token(environment).cure
    path.chmod(0o600)
    assert check_token(environment).state == "ok"


@pytest.mark.parametrize(
    ("library", "tool", "state"), [("13.0", "/usr/bin/nvidia-smi", "fail"), (None, "/usr/bin/nvidia-smi", "fail")]
)
def test_a_gpu_that_torch_cannot_use(
    monkeypatch: pytest.MonkeyPatch, library: str | None, tool: str, state: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", library)
    monkeypatch.setattr("shutil.which", lambda _: tool)
    assert host.check_gpu().state == state
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert host.check_gpu().state == "ok"


def test_ports_in_use_and_open_to_others_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.check_ports({}).state == "ok"
    with answering(200) as address:
        port = int(address.rsplit(":", 1)[1])
        monkeypatch.setattr(host, "PORTS", (port,))
        taken = host.check_ports({})
        assert taken.state == "warn"
        assert str(port) in taken.found
    ports = iter(range(40000, 50000))

    def listens(ip: str) -> SimpleNamespace:
        return SimpleNamespace(status="LISTEN", laddr=SimpleNamespace(ip=ip, port=next(ports)), pid=1)

    def checked(*ips: str, program: str, mode: str = "token") -> str:
        monkeypatch.setattr("psutil.net_connections", lambda _: [listens(ip) for ip in ips])
        monkeypatch.setattr(host, "_program", lambda _: program)
        return host.check_ports({"RAY_AUTH_MODE": mode}).state

    assert checked("127.0.0.1", "::1", program="ray", mode="disabled") == "ok"
    assert checked("0.0.0.0", program="ray") == "ok"
    assert checked("::", program="ray", mode="disabled") == "fail"
    assert checked("10.1.2.3", program="mlflow") == "warn"


@pytest.mark.parametrize(
    ("command", "server"),
    [
        ("/v/lib/python3.11/site-packages/ray/core/src/ray/raylet/raylet --port=1", "ray"),
        ("python -u /v/lib/python3.11/site-packages/ray/dashboard/agent.py", "ray"),
        ("ray::Trainable.train()", "ray"),
        ("python -m ray.util.client.server", "ray"),
        ("python /v/bin/mlflow server --port 5000", "mlflow"),
        ("python -m uvicorn mlflow.server.fastapi_app:app", "mlflow"),
        ("python -m pytest --ignore=tests/ray", None),
        ("python /home/murray/serve.py --folder /data/mlflow-old", None),
    ],
)
def test_a_server_is_recognised_by_its_program_not_by_a_name_in_a_path(command: str, server: str | None) -> None:
    assert host.server_of(command.split()) == server


def test_a_small_shared_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    small = shutil.disk_usage("/")._replace(total=64 * 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: small)
    assert "shm-size" in host.check_memory().cure


def test_too_few_open_files_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit counts where ``ray start`` is called; ``ray.init`` raises it to the hard one."""
    monkeypatch.setattr("psutil.Process.rlimit", lambda *_: (1024, 4096))
    assert "ulimit" in check_open_files().cure
    assert check_open_files(hard=True).state == "ok"
    monkeypatch.setattr("psutil.Process.rlimit", lambda *_: (256, 256))
    assert check_open_files(hard=True).found == "at most 256"
    assert check_open_files(hard=True).state == "warn"


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Return a folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_a_folder_in_which_ray_cannot_start_is_reported(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.statvfs(short_path)

    def state(folder: Path, *, free: int = 10**10, files: int = 10**6) -> str:
        blocks = free // there.f_frsize
        disk = SimpleNamespace(f_bavail=blocks, f_frsize=there.f_frsize, f_files=10**7, f_favail=files)
        monkeypatch.setattr("os.statvfs", lambda _: disk)
        return check_ray_folder({"RAY_TMPDIR": str(folder)}).state

    assert state(short_path) == "ok"
    assert state(short_path / "created-by-ray") == "ok"
    assert state(short_path, free=10**8) == "warn"
    assert state(short_path, free=10**6) == "fail"
    assert state(short_path, files=0) == "fail"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert state(short_path) == "fail"


@pytest.mark.parametrize(("longer", "state"), [(0, "ok"), (1, "fail")])
def test_the_longest_path_of_ray_folder_is_that_of_ray(longer: int, state: str) -> None:
    room = MAX_SOCKET_PATH_BYTES - len("/ray/") - len(SOCKET)
    folder = "/" + "x" * (room - 1 + longer)
    validate = contextlib.nullcontext() if state == "ok" else pytest.raises(OSError, match="cannot exceed")
    with validate:
        validate_socket_filepath(f"{folder}/ray/{SOCKET}")
    finding = check_ray_folder({"RAY_TMPDIR": folder})
    assert ("too long" in finding.found) == (state == "fail")
    assert state == "ok" or f"at most {room} bytes" in finding.cure


def test_ray_folder_is_chosen_as_ray_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
        assert str(ray_folder(os.environ)) == get_default_ray_temp_dir()


CHECKED_SSH = Path(__file__).parents[2] / "deploy" / "checked-ssh"


def test_missing_checks_of_host_keys_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_host_keys(tmp_path).state == "ok"
    file = tmp_path / "cluster.yaml"
    file.write_text("provider:\n  head_ip: 127.0.0.1 # one machine\n  worker_ips: [] # [192.168.1.12]\n")
    assert check_host_keys(tmp_path).state == "ok"
    file.write_text("provider:\n  head_ip: 192.168.1.11\n  worker_ips: [192.168.1.12]\n")
    finding = check_host_keys(tmp_path)
    assert finding.state == "warn"
    assert "192.168.1.11" in finding.found
    monkeypatch.setenv("PATH", f"{CHECKED_SSH}{os.pathsep}{os.environ['PATH']}")
    assert check_host_keys(tmp_path).state == "ok"


def test_the_options_that_the_check_assumes_are_those_of_ray() -> None:
    options = SSHOptions("key").to_ssh_options_list()
    assert set(RAY_OPTIONS) <= set(options)


def test_hosts_with_other_versions_or_clocks_are_reported() -> None:
    ours = versions()
    now = time.time()
    alike = HostReply("a", HostReport((), ours), now, now - 0.1, now + 0.1)
    assert states(compare_hosts([alike], driver_versions=ours)) == ["ok", "ok"]
    old = HostReply("b", HostReport((), ours | {"ray": "2.1"}), now + 60, now - 1, now + 1)
    versions_differ, clock = compare_hosts([old], driver_versions=ours)
    assert versions_differ.state == "fail"
    assert "ray 2.1 in place of" in versions_differ.found
    assert versions_differ.host == "b"
    assert clock.state == "warn"
    assert "+60" in clock.found
    slow = HostReply("c", HostReport((), ours), now - 90, now - 100, now)
    assert states(compare_hosts([slow], driver_versions=ours)) == ["ok", "ok"], (
        "a slow answer is a poor measure of the clock"
    )


def test_a_dashboard_without_a_token_is_reported() -> None:
    assert check_dashboard(None, loopback_only=True).state == "ok"
    with answering(401) as address:
        assert check_dashboard(address, loopback_only=False).state == "ok"
    with answering(200) as address:
        assert check_dashboard(address, loopback_only=True).state == "warn"
        beyond = check_dashboard(address, loopback_only=False)
        assert beyond.state == "fail"
        assert "RAY_AUTH_MODE=token" in beyond.cure
    assert check_dashboard(address, loopback_only=True).state == "warn"


@pytest.mark.parametrize(("status", "cure"), [(401, "MLFLOW_TRACKING_PASSWORD"), (403, "MLFLOW_SERVER_ALLOWED_HOSTS")])
def test_a_tracking_server_that_refuses_access_is_reported(status: int, cure: str) -> None:
    with answering(status) as address, pytest.raises(UnreachableError) as refused:
        check_connection(f"http://somebody:s3cret@{address}")
    assert cure in refused.value.remedy
    assert "s3cret" not in str(refused.value)


def test_an_unreachable_server_and_a_damaged_database_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="refused") as away:
        check_connection("http://127.0.0.1:9")
    assert "start the server" in away.value.remedy
    database = tmp_path / "mlflow.db"
    assert "first search" in check_connection(f"sqlite:///{database}")
    assert not database.exists(), "the check creates nothing"
    database.write_text("this is no database, " * 100)
    with pytest.raises(UnreachableError):
        check_connection(f"sqlite:///{database}")


@pytest.mark.parametrize(
    ("content", "refused"), [(b"this is no database, " * 100, True), (b"", False), (None, False)], ids=str
)
def test_only_a_damaged_database_is_refused_without_a_retry(
    content: bytes | None, refused: bool, tmp_path: Path
) -> None:
    database = tmp_path / "mlflow.db"
    if content is not None:
        database.write_bytes(content)
    expected = pytest.raises(SettingsError, match="restore it from a backup, or move it away") if refused else None
    with expected or contextlib.nullcontext():
        refuse_damaged_database(f"sqlite:///{database}")
    refuse_damaged_database("http://127.0.0.1:9")


def test_the_command_prints_a_finding_per_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    options = ["--storage", str(tmp_path / "results")]
    good = CliRunner().invoke(doctor, [*options, "--json"], standalone_mode=False)
    document = json.loads(good.output)
    assert good.return_value == 0, document
    assert document["well"]
    assert {finding["name"] for finding in document["findings"]} >= {"packages", "gpu", "storage", "token", "tracking"}
    bad = CliRunner().invoke(doctor, [*options, "--store", str(tmp_path / "none")], standalone_mode=False)
    assert bad.return_value == 1
    (line,) = [line for line in bad.output.splitlines() if line.startswith("FAIL")]
    assert "emotune data prepare" in line
    assert as_line(Finding("a", "warn", "b", "c", "h")) == "warn h a: b  -> c"
