"""A small store, a cluster for the whole session, and the program as a user runs it: in a separate process."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from benchmarks.servers import free_port
from emotune.cli.actions.status import read_status
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder

TINY = [
    "base.model.channels=[4, 8]",
    "base.model.kernels=[9, 5]",
    "base.model.feedforward=16",
    "base.folds.segments=48",
    "base.batch_size=16",
]


@pytest.fixture(scope="session", autouse=True)
def busy_machine() -> Iterator[None]:
    """Let workers compute at the priority of other processes, and give a group time to start.

    Ray lowers the priority: beside the other tests of ``make test`` a worker would start several times as slowly. A
    group that does not start within 30 s is started again, which makes a busy machine busier.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")
        yield


@pytest.fixture(scope="session")
def store(small_store: Path) -> Path:
    return small_store


@dataclass
class Program:
    """Starts ``emotune`` in separate processes, and ends their remaining processes at the end of the test.

    They connect to the cluster of ``RAY_ADDRESS``.
    """

    store: Path
    storage: Path
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen:
        return self.run([sys.executable, "-m", "emotune", *arguments])

    def run(self, command: list[str]) -> subprocess.Popen:
        process = subprocess.Popen(
            command,
            env=os.environ | {"EMOTUNE_STORAGE": str(self.storage)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def search(self, name: str, *arguments: str, study: str = "smoke", concurrency: int | None = 1) -> subprocess.Popen:
        sets = [part for setting in TINY for part in ("--set", setting)]
        fixed = [] if concurrency is None else ["--concurrency", str(concurrency)]
        options = ["--store", str(self.store), "--name", name, *fixed]
        return self.start("search", study, *options, *sets, *arguments)

    def status(self, name: str) -> dict:
        """Return what ``emotune status --json`` prints, without the start of a process."""
        return read_status(SearchFolder.of(name, storage=LocalStorage(self.storage)))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with a dashboard, for all tests that neither kill nor change it."""
    with cluster_of(cpus=4, dashboard=True) as cluster:
        yield cluster


@pytest.fixture
def program(store: Path, tmp_path: Path, cluster: Cluster) -> Iterator[Program]:
    assert cluster.head_node is not None
    yield from programs(store, tmp_path)


def programs(store: Path, tmp_path: Path) -> Iterator[Program]:
    running = Program(store=store, storage=tmp_path / "results")
    yield running
    for process in running.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        process.wait()


@contextlib.contextmanager
def cluster_of(*, cpus: int, dashboard: bool) -> Iterator[Cluster]:
    """Run a cluster of one node, and set ``RAY_ADDRESS`` to it.

    With its default port, the dashboard would not start if another one began to listen there in the meantime.
    """
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        head = {"num_cpus": cpus, "include_dashboard": dashboard, "gcs_server_port": port}
        if dashboard:
            head["dashboard_port"] = free_port()
        cluster = Cluster(initialize_head=True, head_node_args=head)
        yield cluster
        cluster.shutdown()
