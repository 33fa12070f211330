"""Evaluations share a GPU on a real Ray cluster with a simulated GPU: the number that the probe measures as fastest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emotune.search.records import EpochDone
from emotune.storage import LocalLog
from emotune.study.journal import read_journal
from emotune.study.results import opened, search_state
from tests.ray.conftest import TINY

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

SEARCH = """
import functools, json, sys
import ray
from emotune.cli.search import search
from emotune.cli import run_command
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.runtime import experiments
from emotune.runtime.cluster import capacity, gpu_sharing

ray.init(num_cpus=2, num_gpus=1, resources={"lab": 3}, include_dashboard=False, log_to_driver=False)
gpu_sharing.measure_on_gpu = functools.partial(gpu_sharing.measure_on_gpu, seconds=0.5)
on_cpus = Experiment().with_values({"compute.device": "cpu"})
assert experiments.find_capacity(on_cpus, trials_per_gpu=1) == capacity.Capacity(2, {"CPU": 1.0})
threads = on_cpus.with_values({"compute.threads": 2})
assert experiments.find_capacity(threads, trials_per_gpu=1) == capacity.Capacity(1, {"CPU": 2.0})
lab = on_cpus.with_values({"compute.resources": {"lab": 3}})
assert experiments.find_capacity(lab, trials_per_gpu=1) == capacity.Capacity(1, {"CPU": 1.0, "lab": 3.0})
try:
    experiments.connect_for_search(
        on_cpus.with_values({"compute.resources": {"lba": 1}}), trials=1, workers=None, trials_per_gpu=1
    )
except SettingsError as error:
    assert "resources: {'lba': 1.0} was given, but the cluster has {'lba': 0.0}; give less" in str(error)
else:
    raise AssertionError
print(json.dumps([experiments.find_capacity(Experiment(), trials_per_gpu=count).__dict__ for count in (1, 2, 4)]))
run_command(search)
"""


def test_a_search_measures_the_number_of_evaluations_per_gpu(store: Path, tmp_path: Path) -> None:
    sets = [part for setting in TINY for part in ("--set", setting)]
    options = ["--store", str(store), "--name", "packed", "--evaluations", "2", "--trials-per-gpu", "auto"]
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, "smoke", *options, *sets],
        env=os.environ | {"RAY_ADDRESS": "local", "EMOTUNE_STORAGE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two, four = json.loads(done.stdout.splitlines()[0])
    assert one == {"slots": 1, "resources": {"CPU": 1.0, "GPU": 1.0}}
    assert two == {"slots": 2, "resources": {"CPU": 1.0, "GPU": 0.5}}
    assert four == {"slots": 2, "resources": {"CPU": 1.0, "GPU": 0.25}}
    lines = done.stderr[done.stderr.index("evaluations will share a GPU") :].splitlines()
    measured = [int(line.split()[0]) for line in lines[2:4]]
    assert measured == [1, 2], "4 evaluations were measured, but the cluster has 2 CPUs"
    records = read_journal(LocalLog(tmp_path / "packed" / "journal.jsonl"))
    assert search_state(records, alive=False) == "finished"
    assert opened(records).concurrency in {1, 2}
    shares = [record.metrics["train/peak_share"] for record in records if isinstance(record, EpochDone)]
    assert shares
    assert all(share is not None and 0 < share < 1 for share in shares)
