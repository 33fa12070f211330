"""Attacks: secrets that could leak, and connections to other machines."""

import os
import re
import shutil
import sqlite3
from pathlib import Path

from chaos.bench import Bench, marked, require, title
from chaos.deaths import start_mlflow

CANARY = "c4n4ry-0f-a-p4ssw0rd"
TOKEN = "c4n4ry-0f-a-t0k3n"
METADATA = "169.254.169.254"


def secrets(bench: Bench, total: int) -> None:
    """Put a password and a token into the driver's environment: they must not appear anywhere else."""
    del total
    start_mlflow(bench)
    bench.environment |= {
        "MLFLOW_TRACKING_USERNAME": "somebody",
        "MLFLOW_TRACKING_PASSWORD": CANARY,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
    }
    driver = bench.search()
    seen: set[str] = set()
    while driver.process.poll() is None:
        seen |= {title(process) for process in marked(bench.mark)}
    driver.finish()
    require(not leaks("\n".join(seen).encode()), "a secret is in the arguments of a process")
    leaking = [file for file in bench.root.rglob("*") if file.is_file() and leaks(file.read_bytes())]
    require(not leaking, f"secrets are in {[str(file.relative_to(bench.root)) for file in leaking]}")
    require(any(bench.root.glob("ray/session_*/logs/*")), "there are no logs of Ray in its folder")
    with sqlite3.connect(bench.root / "server.db") as database:
        require(not leaks("\n".join(database.iterdump()).encode()), "a secret is in MLflow's database")


def leaks(content: bytes) -> bool:
    """Return whether a content has a secret."""
    return CANARY.encode() in content or TOKEN.encode() in content


def off_the_network(bench: Bench, total: int) -> None:
    """Record all connections with strace: there are none to other machines."""
    del total
    strace = shutil.which("strace")
    assert strace is not None, "needs strace"
    trace = bench.root / "trace"
    trace.mkdir()
    prefix = [strace, "-f", "-ff", "-qq", "-e", "trace=connect", "-o", str(trace / "calls")]
    bench.search(prefix=prefix).finish()
    own = addresses()
    addressed = {address for file in trace.iterdir() for address in connected(file)}
    require(addressed, "strace recorded no connection")
    foreign = {address for address in addressed if not (address.startswith(("127.", "::ffff:127.")) or address in own)}
    require(not foreign, f"connections to {sorted(foreign)}")


def connected(trace: Path) -> list[str]:
    """Return the addresses in a trace; UDP sockets to name servers are among them."""
    return re.findall(r'inet_(?:addr|pton)\((?:AF_INET6, )?"([^"]+)"', trace.read_text())


def addresses() -> set[str]:
    """Return the addresses of this machine, its name servers, and the address by which Ray finds Google's TPUs."""
    numbers = re.findall(r"(\d+\.\d+\.\d+\.\d+)", os.popen("hostname -I").read())
    servers = re.findall(r"^nameserver (\S+)", Path("/etc/resolv.conf").read_text(), flags=re.MULTILINE)
    return {*numbers, *servers, METADATA, "::1", "0.0.0.0", "::"}
