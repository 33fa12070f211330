"""A search on several nodes loses little with a node, and uses a new node at once."""

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
def own_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that counts a node as lost after seconds."""
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    with cluster_of(cpus=1, dashboard=False) as cluster:
        yield cluster
    gc.collect()


@pytest.fixture
def program(store: Path, tmp_path: Path, own_cluster: Cluster) -> Iterator[Program]:
    """The program on the cluster of this test."""
    assert own_cluster.head_node is not None
    yield from programs(store, tmp_path)


class RunningSearch:
    """The journal of a running search."""

    def __init__(self, program: Program, process: subprocess.Popen) -> None:
        self._journal = program.storage / "nodes" / "journal.jsonl"
        self._process = process

    @property
    def records(self) -> list[Record]:
        return read_journal(LocalLog(self._journal)) if self._journal.exists() else []

    def wait(self, condition: Callable[[list[Record]], bool]) -> None:
        """Wait until a condition on the records is met."""
        while not condition(self.records):
            assert self._process.poll() is None, self._process.communicate()[1]
            time.sleep(0.1)


def ended(records: list[Record]) -> int:
    return sum(isinstance(record, Ended) for record in records)


def test_a_search_outlives_a_node_and_takes_in_another(program: Program, own_cluster: Cluster) -> None:
    node = own_cluster.add_node(num_cpus=1)
    process = program.search("nodes", "--set", "budget.brackets=4", concurrency=None)
    search = RunningSearch(program, process)
    search.wait(lambda records: ended(records) >= 4)
    own_cluster.remove_node(node, allow_graceful=False)
    own_cluster.add_node(num_cpus=2)
    # Ray counts a lost node until its heartbeats have been missing for some time
    search.wait(lambda records: any(isinstance(item, Resized) and item.concurrency >= 3 for item in records))
    doctor = program.start("doctor", "--json", "--store", str(program.store))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    status = program.status("nodes")
    assert status["state"] == "finished"
    assert {evaluation["status"] for evaluation in status["evaluations"]} == {"done"}
    check_epochs(status, search.records)
    check_decisions(search.records)
    document = json.loads(doctor.communicate(timeout=120)[0])
    by_host = [finding for finding in document["findings"] if finding["name"] == "versions"]
    assert [finding["state"] for finding in by_host] == ["ok", "ok"], "not two nodes are alive"
    # this cluster requires no token, and listens on all addresses
    assert {finding["name"] for finding in document["findings"] if finding["state"] == "fail"} <= {"ports"}


def check_epochs(status: dict, records: list[Record]) -> None:
    """Check that each epoch of each configuration is recorded once."""
    recorded = sorted((record.config_id, record.epoch) for record in records if isinstance(record, EpochDone))
    longest = {evaluation["config_id"]: evaluation["to_epoch"] for evaluation in status["evaluations"]}
    expected = sorted((config, epoch) for config, last in longest.items() for epoch in range(1, last + 1))
    assert recorded == expected


def check_decisions(records: list[Record]) -> None:
    """Check that every decision follows from the rules, including those after the cluster has grown."""
    study = Study.model_validate(opened(records).study)
    optimizer = make_optimizer(study, records=records, concurrency=opened(records).concurrency)

    def cost(evaluation: Evaluation) -> float:
        return study.base.with_values(evaluation.values).cost()

    state = optimizer.state()
    begun = SearchSettings.model_validate(state["settings"])
    changes = [Resize.model_validate(entry) for entry in state["resizes"]]
    seen = seen_in_virtual_time(begun, optimizer.results(), cost=cost, changes=changes)
    assert violations(begun, optimizer.results(), seen=seen, finished=True) == []
