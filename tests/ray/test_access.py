"""Ray started by ``emotune`` is closed to other users and machines, sends nothing out, and leaks no secret."""

import ast
import ipaddress
import os
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from chaos.bench import REPOSITORY, Bench, marked, title

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
CANARY = "c4n4ry-0f-a-p4ssw0rd"
METADATA = {"metadata.google.internal", "169.254.169.254"}
"""Hosts of the machine's own cloud: Ray checks there whether it runs on Google's TPUs (docs/security.md)."""

RECORD_CONNECTIONS = """
import os, sys

def record(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(repr((event, arguments[0] if event == "socket.getaddrinfo" else arguments[1])) + "\\n")

sys.addaudithook(record)
"""
EXPERIMENT = """
model: {channels: [4, 8], kernels: [9, 5], feedforward: 16}
optim: {warmup_epochs: 0}
batch_size: 16
epochs: 4000
"""


@pytest.fixture
def bench(store: Path) -> Iterator[Bench]:
    bench = Bench(store, seed=0)
    (bench.root / "audit").mkdir()
    (bench.root / "audit" / "sitecustomize.py").write_text(RECORD_CONNECTIONS)
    bench.environment |= {
        "HOME": str(bench.root / "home"),
        "RAY_AUTH_MODE": "token",
        "MLFLOW_TRACKING_PASSWORD": CANARY,
        "PYTHONPATH": os.pathsep.join([str(bench.root / "audit"), str(REPOSITORY)]),
        "CONNECTIONS": str(bench.root / "audit" / "connections"),
    }
    yield bench
    bench.end()


def status_of(address: str, *, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{address}/api/jobs/", headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def dashboard(bench: Bench) -> str | None:
    """Return the address of the dashboard, at port 8265 or the next free one; None if it does not listen yet."""
    for process in marked(bench.mark):
        if "dashboard.py" in title(process):
            ports = {
                connection.laddr.port
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
            return next((f"127.0.0.1:{port}" for port in sorted(ports) if 8265 <= port < 8315), None)
    return None


def listening_addresses(bench: Bench) -> set[str]:
    """Return the addresses at which the processes of a run listen, except torch's store of a worker group."""
    addresses = set()
    for process in marked(bench.mark):
        if "RayTrainWorker" in title(process):
            continue  # while a group starts, torch's store listens on all interfaces (docs/security.md)
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        addresses |= {item.laddr.ip for item in connections if item.status == psutil.CONN_LISTEN}
    return addresses


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def test_a_run_accepts_only_local_requests_with_the_token_and_leaks_no_secret(bench: Bench) -> None:
    experiment = bench.root / "experiment.yaml"
    experiment.write_text(EXPERIMENT)
    arguments = ["pretrain", str(experiment), "--store", str(bench.store), "--name", "try", "--workers", "1"]
    command = [sys.executable, "-m", "emotune", *arguments]
    driver = bench.run(["sh", "-c", 'umask 000; exec "$@"', "sh", *command])
    bench.wait_for_records(3, driver=driver)
    bench.wait_until(lambda: dashboard(bench), driver=driver)
    address = dashboard(bench)
    assert address is not None
    file = bench.root / "home" / ".ray" / "auth_token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = file.read_text()
    end = time.monotonic() + 60
    while status_of(address, token=token) != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert status_of(address, token=None) == 401
    assert status_of(address, token="0" * 64) == 403
    assert {ip for ip in listening_addresses(bench) if not is_loopback(ip)} == set()
    titles = "\n".join(title(process) for process in marked(bench.mark))
    driver.process.terminate()
    assert driver.wait(60) == 143, driver.errors

    file.unlink()
    files = [path for path in bench.root.rglob("*") if path.is_file()]
    assert any("gcs_server" in path.name for path in files), "Ray's logs are not among the files"
    for secret in (token, CANARY):
        assert secret not in titles
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
    contacted = [host_of(line) for line in (bench.root / "audit" / "connections").read_text().splitlines()]
    assert contacted
    assert {host for host in contacted if not is_local(host)} <= METADATA


def is_local(host: str) -> bool:
    """Return whether a host is this machine or a Unix socket."""
    try:
        return is_loopback(host)
    except ValueError:
        return host.startswith("/") or host == "localhost"


def host_of(line: str) -> str:
    """Return the host, or the path of a Unix socket, that a process connected to or resolved."""
    _, address = ast.literal_eval(line)
    host = address[0] if isinstance(address, tuple) else address
    return host.decode() if isinstance(host, bytes) else host or "localhost"
