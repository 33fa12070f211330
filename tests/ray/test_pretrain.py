"""A long run with several workers on a real Ray cluster has the same result after any kill."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch import distributed, multiprocessing

from emotune.data.store import SegmentStore
from emotune.documents import load_document, parse
from emotune.experiment import Experiment
from emotune.runtime.worker import Job, Worker
from emotune.search.records import EpochDone
from emotune.storage import LocalLog, LocalStorage
from emotune.study.journal import read_journal
from emotune.training.loop import never_pause
from emotune.training.workers import joined
from tests.ray.conftest import Program

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
EPOCHS = 9
EXPERIMENT = f"""
model: {{channels: [4, 8], kernels: [9, 5], feedforward: 16}}
optim: {{warmup_epochs: 2}}
batch_size: 16
epochs: {EPOCHS}
compute: {{precision: fp32}}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(EXPERIMENT)
    return path


def pretrain(program: Program, experiment: Path, name: str, *, workers: str) -> subprocess.Popen:
    return program.start(*arguments(program, experiment, name, workers=workers))


def arguments(program: Program, experiment: Path, name: str, *, workers: str) -> list[str]:
    return ["pretrain", str(experiment), "--store", str(program.store), "--name", name, "--workers", workers]


@pytest.fixture(scope="module")
def undisturbed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of two workers that are not disturbed, in processes that are connected by torch only."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    (folder.parent / "experiment.yaml").write_text(EXPERIMENT)
    settings = parse(load_document(folder.parent / "experiment.yaml").overridden([f"store={store}"]), Experiment)
    job = Job(
        evaluation_id=0,
        config_id=0,
        from_epoch=0,
        to_epoch=EPOCHS,
        experiment=settings,
        checkpoints=LocalStorage(folder),
    ).model_dump_json()
    multiprocessing.start_processes(train, args=(job,), nprocs=2, start_method="spawn")
    return folder


def train(rank: int, job: str) -> None:
    parsed = Job.model_validate_json(job)
    rendezvous = f"file://{parsed.checkpoints}.rendezvous"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    Worker(parsed, group=joined()).work(never_pause)
    distributed.destroy_process_group()


def finish(process: subprocess.Popen) -> str:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return errors


def epochs_of(program: Program, name: str) -> list[EpochDone]:
    journal = program.storage / name / "journal.jsonl"
    records = read_journal(LocalLog(journal)) if journal.exists() else []
    return [record for record in records if isinstance(record, EpochDone)]


def wait_for_epoch(program: Program, name: str, epoch: int, *, process: subprocess.Popen) -> None:
    while len(epochs_of(program, name)) < epoch:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def workers() -> list[psutil.Process]:
    """Return the cluster's workers. The first worker of a group has an additional port, where the others connect."""
    processes = [child for child in psutil.Process().children(recursive=True) if "RayTrainWorker" in title(child)]
    return sorted(processes, key=open_ports, reverse=True)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def open_ports(process: psutil.Process) -> int:
    return sum(connection.status == psutil.CONN_LISTEN for connection in process.net_connections("tcp"))


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / f"epoch-{EPOCHS:06d}" / "weights.safetensors")


def losses(folder: Path) -> np.ndarray:
    history = json.loads((folder / f"epoch-{EPOCHS:06d}" / "state.json").read_text())["history"]
    return np.array([[report["metrics"][name] for name in ("train/loss", "val/loss")] for report in history])


def checkpoints(program: Program, name: str) -> Path:
    return program.storage / name / "configurations" / "00000"


def check_mlflow(program: Program, name: str) -> None:
    """Check that the training is one run, in which every epoch of the journal is logged once."""
    client = MlflowClient(f"sqlite:///{program.storage / 'mlflow.db'}")
    mlflow_experiment = client.get_experiment_by_name(f"emotune/{name}")
    assert mlflow_experiment is not None
    runs = client.search_runs([mlflow_experiment.experiment_id])
    assert [run.data.tags["emotune.kind"] for run in runs] == ["pretrain"]
    (run,) = runs
    logged = sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, "val/loss"))
    assert logged == [(record.epoch, record.metrics["val/loss"]) for record in epochs_of(program, name)]
    assert [step for step, _ in logged] == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize(
    "lost", [pytest.param(slice(1, 2), id="one"), pytest.param(slice(2), id="all", marks=pytest.mark.thorough)]
)
def test_whatever_is_killed_the_run_ends_like_an_undisturbed_one(
    program: Program, experiment: Path, undisturbed: Path, lost: slice
) -> None:
    process = pretrain(program, experiment, "killed", workers="2")
    wait_for_epoch(program, "killed", 2, process=process)
    for worker in workers()[lost]:
        worker.kill()
    wait_for_epoch(program, "killed", 5, process=process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.count("is tried again: worker") == 1
    assert "--name killed --workers 2" in errors
    finish(pretrain(program, experiment, "killed", workers="2"))
    killed = checkpoints(program, "killed")
    assert np.array_equal(losses(killed), losses(undisturbed))
    expected = weights(undisturbed)
    equal = {name: bool((tensor == expected[name]).all()) for name, tensor in weights(killed).items()}
    assert equal == dict.fromkeys(expected, True)
    check_mlflow(program, "killed")


def test_after_a_change_from_four_workers_to_two_each_segment_is_used_once_per_epoch(
    program: Program, experiment: Path, undisturbed: Path
) -> None:
    notes = program.storage.with_name("notes")
    notes.mkdir()
    start = [sys.executable, "-m", "tests.ray.recording", str(notes)]
    process = program.run([*start, *arguments(program, experiment, "fewer", workers="4")])
    wait_for_epoch(program, "fewer", 4, process=process)
    process.kill()
    process.communicate()
    finish(program.run([*start, *arguments(program, experiment, "fewer", workers="1..2")]))
    check_notes(notes, rows=train_rows(experiment, program.store))
    check_mlflow(program, "fewer")
    check_losses(losses(checkpoints(program, "fewer")), expected=losses(undisturbed))


def check_losses(measured: np.ndarray, *, expected: np.ndarray) -> None:
    """Check that losses equal those of other workers up to rounding, which depends on their number and the CPU.

    At first the difference is 1e-7. Adam enlarges it: the sign of a gradient near 0 changes a weight by the learning
    rate. From the fifth epoch on it stays below 6e-5. Other rows, masks or dropouts change the next loss by 1e-3 or
    more, a wrong share of a joint batch by 2e-4 and, two epochs later, by 1e-3.
    """
    bounds = np.minimum(1e-5 * 3.0 ** np.arange(EPOCHS), 5e-4)
    differences = np.abs(measured / expected - 1).max(axis=1)
    assert (differences <= bounds).all(), differences


def train_rows(experiment: Path, store: Path) -> list[int]:
    settings = parse(load_document(experiment).overridden([]), Experiment)
    return sorted(settings.training_data(SegmentStore.open(store)).fold.train.tolist())


def check_notes(notes: Path, *, rows: list[int]) -> None:
    """Check that repeated steps have the same segments, and that each epoch has every row once.

    Of a step that was repeated after the kill, its last run counts. In the step of the kill, some of the four workers
    had not recorded their segments yet.
    """
    lines = [json.loads(line) for file in notes.iterdir() for line in file.read_text().splitlines()]
    assert {line["shard"][1] for line in lines} == {4, 2}
    steps: defaultdict[tuple[int, int], dict[int, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for line in lines:
        steps[line["epoch"], line["step"]][line["shard"][1]].update(line["rows"])
    killed_in = max(step for step, by_workers in steps.items() if 4 in by_workers)
    seen: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for step, by_workers in steps.items():
        last = by_workers[min(by_workers)]
        if step == killed_in:
            assert all(part <= last for part in by_workers.values())
        else:
            assert all(part == last for part in by_workers.values())
        seen[step[0]] += last
    assert seen == {epoch: Counter(rows) for epoch in range(1, EPOCHS + 1)}
