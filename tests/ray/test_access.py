"""Promises of a Ray that ``emotune`` starts: nobody else reaches it, nothing leaves the machine, no secret leaks."""

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
"""Ray asks whether it runs on Google's TPUs, of the machine's own cloud (docs/security.md)."""

TELL = """
import os, sys

def tell(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open(os.environ["TOLD"], "a") as file:
            file.write(repr((event, arguments[0] if event == "socket.getaddrinfo" else arguments[1])) + "\\n")

sys.addaudithook(tell)
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
    (bench.root / "told").mkdir()
    (bench.root / "told" / "sitecustomize.py").write_text(TELL)
    bench.environment |= {
        "HOME": str(bench.root / "home"),
        "RAY_AUTH_MODE": "token",
        "MLFLOW_TRACKING_PASSWORD": CANARY,
        "PYTHONPATH": os.pathsep.join([str(bench.root / "told"), str(REPOSITORY)]),
        "TOLD": str(bench.root / "told" / "connections"),
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
    """Return where the dashboard listens, once it does: at port 8265, or the next one that is free."""
    for process in marked(bench.mark):
        if "dashboard.py" in title(process):
            ports = {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
            return next((f"127.0.0.1:{port}" for port in sorted(ports) if 8265 <= port < 8315), None)
    return None


def heard_at(bench: Bench) -> set[str]:
    """Return the addresses at which the processes of a try listen, but for torch's store of a group."""
    found = set()
    for process in marked(bench.mark):
        if "RayTrainWorker" in title(process):
            continue  # while a group starts, torch's store is on all interfaces, whatever it is told (docs/security.md)
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            continue
        found |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    return found


def is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def test_a_long_run_is_reached_from_this_machine_with_the_token_only_and_leaks_nothing(bench: Bench) -> None:
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
    assert {ip for ip in heard_at(bench) if not is_loopback(ip)} == set()
    titles = "\n".join(title(process) for process in marked(bench.mark))
    driver.process.terminate()
    assert driver.wait(60) == 143, driver.errors

    file.unlink()
    files = [one for one in bench.root.rglob("*") if one.is_file()]
    assert any("gcs_server" in one.name for one in files), "Ray's logs are looked through too"
    for secret in (token, CANARY):
        assert secret not in titles
        assert [one for one in files if secret.encode() in one.read_bytes()] == []
    told = [hosts(line) for line in (bench.root / "told" / "connections").read_text().splitlines()]
    assert told
    assert {host for host in told if not stays_here(host)} <= METADATA


def stays_here(host: str) -> bool:
    """Tell whether a host is this machine, or a Unix socket."""
    try:
        return is_loopback(host)
    except ValueError:
        return host.startswith("/") or host == "localhost"


def hosts(line: str) -> str:
    """Return the host, or the path of a Unix socket, that a process connected to or asked for."""
    _, address = ast.literal_eval(line)
    host = address[0] if isinstance(address, tuple) else address
    return host.decode() if isinstance(host, bytes) else host or "localhost"
