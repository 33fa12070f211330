"""The probe of evaluations that share a GPU runs on a real Ray cluster, whose GPU is made up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PROBE = """
import json, sys, time
import ray
from emotune.experiment import Experiment
from emotune.search import packing

base = Experiment.model_validate_json(sys.argv[1])
ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
packed = [packing.measure_on_gpu(base, trials=trials, seconds=0.5) for trials in (1, 2, 4)]
speeds = [None if one is None else one.segments_per_second for one in packed]
end = time.monotonic() + 20
while ray.available_resources().get("GPU") != 1.0 and time.monotonic() < end:
    time.sleep(0.1)
asked = packing.settle_trials(2, base)
print(json.dumps({"speeds": speeds, "free": ray.available_resources().get("GPU"), "places": packing.places(2),
                  "asked": asked, "resources": packing.resources(2)}))
"""


def test_processes_share_a_gpu_and_give_it_back(store: Path) -> None:
    base = {
        "store": str(store),
        "model": {"channels": [4, 8], "kernels": [9, 5], "feedforward": 16},
        "folds": {"segments": 48},
        "batch_size": 16,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(base)],
        env=os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    one, two, four = told["speeds"]
    assert one > 0
    assert two > 0
    assert four is None, "the machine has two CPUs"
    assert told["free"] == 1.0
    assert told["asked"] == 2
    assert told["places"] == 2
    assert told["resources"] == {"CPU": 1.0, "GPU": 0.5}
