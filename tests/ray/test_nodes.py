"""Promises of a search on several nodes: those that leave cost little, and those that join are used at once."""

import gc
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from emotune.search.records import Ended, EpochDone, Evaluation, Record, Resized
from emotune.search.settings import SearchSettings
from emotune.search.stopping import Resize
from emotune.storage import LocalLog
from emotune.study.journal import read_journal
from emotune.study.results import opened
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from tests.ray.conftest import Program, cluster_of, programs
from tests.search.checker import seen_in_virtual_time, violations

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # of Ray, for the port of a new node
]


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    with cluster_of(cpus=1, dashboard=False) as cluster:
        yield cluster
    gc.collect()


@pytest.fixture
def program(store: Path, tmp_path: Path, own_cluster: Cluster) -> Iterator[Program]:
    """The program on the cluster of this test."""
    assert own_cluster.head_node is not None
    yield from programs(store, tmp_path)


class Following:
    """What the journal of a running search says."""

    def __init__(self, program: Program, process: subprocess.Popen) -> None:
        self._journal = program.storage / "nodes" / "journal.jsonl"
        self._process = process

    @property
    def records(self) -> list[Record]:
        return read_journal(LocalLog(self._journal)) if self._journal.exists() else []

    def wait(self, condition: Callable[[list[Record]], bool]) -> None:
        """Wait until something holds."""
        while not condition(self.records):
            assert self._process.poll() is None, self._process.communicate()[1]
            time.sleep(0.1)


def ended(records: list[Record]) -> int:
    return sum(isinstance(one, Ended) for one in records)


def test_a_search_outlives_a_node_and_takes_in_another(program: Program, own_cluster: Cluster) -> None:
    node = own_cluster.add_node(num_cpus=1)
    process = program.search("nodes", "--set", "budget.brackets=6", concurrency=None)
    following = Following(program, process)
    following.wait(lambda records: ended(records) >= 4)
    own_cluster.remove_node(node, allow_graceful=False)
    own_cluster.add_node(num_cpus=2)
    # a node that is gone counts until its heartbeats have been missed for a while
    following.wait(lambda records: any(isinstance(one, Resized) and one.concurrency >= 3 for one in records))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    status = program.status("nodes")
    assert status["state"] == "finished"
    assert {evaluation["status"] for evaluation in status["evaluations"]} == {"done"}
    check_epochs(status, following.records)
    check_decisions(following.records)
    doctor = program.start("doctor", "--json", "--store", str(program.store))
    document = json.loads(doctor.communicate(timeout=120)[0])
    by_host = [found for found in document["findings"] if found["name"] == "versions"]
    assert [found["state"] for found in by_host] == ["ok", "ok"], "two nodes are alive"
    # this cluster asks for no token, and listens on all addresses
    assert {found["name"] for found in document["findings"] if found["state"] == "fail"} <= {"ports"}


def check_epochs(status: dict, records: list[Record]) -> None:
    """Each epoch of each configuration was taken once."""
    told = sorted((one.config_id, one.epoch) for one in records if isinstance(one, EpochDone))
    longest = {one["config_id"]: one["to_epoch"] for one in status["evaluations"]}
    assert told == sorted((each, epoch) for each, last in longest.items() for epoch in range(1, last + 1))


def check_decisions(records: list[Record]) -> None:
    """Every decision follows from the rules, also those after the cluster had grown."""
    study = Study.model_validate(opened(records).study)
    optimizer = make_optimizer(study, records=records, concurrency=opened(records).concurrency)

    def cost(evaluation: Evaluation) -> float:
        return study.base.with_values(evaluation.values).cost()

    state = optimizer.state()
    begun = SearchSettings.model_validate(state["settings"])
    changes = [Resize.model_validate(entry) for entry in state["resizes"]]
    seen = seen_in_virtual_time(begun, optimizer.results(), cost=cost, changes=changes)
    assert violations(begun, optimizer.results(), seen=seen, finished=True) == []
