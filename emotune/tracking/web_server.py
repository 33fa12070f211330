"""MLflow's own server for a database on this machine, as child processes that end with this one."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from types import FrameType
from typing import IO

from emotune.errors import ServerError, SettingsError
from emotune.tracking.uri import public_uri

HOST = "127.0.0.1"
"""The server listens on the loopback interface only: it asks for no password."""

START_TIMEOUT_S = 120.0
"""Longest wait for the first response of the server. In this time it also creates the tables of a new database."""

POLL_INTERVAL_S = 0.2
"""Interval between two requests while the server starts, and between two checks of signals."""

STOP_TIMEOUT_S = 5.0
"""Longest wait for the end of the server's processes before they are killed."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the server."""


def check_port(port: int) -> None:
    """Check that a port of the loopback interface is free.

    Raises:
        SettingsError: It is in use, or this account may not use it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = port + 1 if 1023 < port < 65535 else 5001
            raise SettingsError(
                f"--port {port} cannot be used: {error.strerror}; give another one, for example --port {other}"
            ) from error


def serve(uri: str, *, port: int, on_ready: Callable[[], None]) -> None:
    """Run MLflow's server on a database until SIGINT, SIGTERM or SIGHUP is received.

    No process is left when the function returns or raises.

    Args:
        uri: The database. The server gets it in its environment, where other accounts cannot read a password in it.
        port: A free port of the loopback interface.
        on_ready: Called once, when the server responds.

    Raises:
        ServerError: The server does not start, or has ended.
    """
    with _received_signals() as received, tempfile.TemporaryFile() as log, _child(uri, port=port, log=log) as process:
        deadline = time.monotonic() + START_TIMEOUT_S
        ready = False
        while not received:
            if process.poll() is not None:
                raise ServerError(f"MLflow's server for {public_uri(uri)} has ended: {_last_line(log)}")
            if not ready and _responds(port):
                ready = True
                on_ready()
            if not ready and time.monotonic() > deadline:
                raise ServerError(
                    f"MLflow's server for {public_uri(uri)} did not respond within {START_TIMEOUT_S:.0f} s; give the "
                    "same command again"
                )
            time.sleep(POLL_INTERVAL_S)


@contextlib.contextmanager
def _received_signals() -> Iterator[list[int]]:
    """Return the list of the received signals, which is filled within the block."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _child(uri: str, *, port: int, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server in a process group, and end the whole group with the block."""
    variables = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for evaluating language models
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"],
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started; kill those that have not ended after `STOP_TIMEOUT_S`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _group_exists(process) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S / 4)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _group_exists(process: subprocess.Popen[bytes]) -> bool:
    process.poll()  # a process that has ended belongs to its group until its exit status is read
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _responds(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


def _last_line(log: IO[bytes]) -> str:
    """Return the last line of a log, without credentials."""
    log.seek(0)
    lines = log.read().decode(errors="replace").split("\n")
    return public_uri(next((line.strip() for line in reversed(lines) if line.strip()), "no reason was given"))[:300]
