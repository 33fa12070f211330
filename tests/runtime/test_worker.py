"""A worker pauses when it has to, and reports an exception as a failure before it raises it."""

from pathlib import Path

import pytest

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.errors import DataError, GpuLostError, TrainingDivergedError
from emotune.experiment import Experiment
from emotune.runtime import evaluation
from emotune.runtime.step_report import StepReport
from emotune.runtime.worker import EvaluationTrainable, Job, Worker, check_gpu
from emotune.search.records import Failure
from emotune.storage import LocalStorage
from tests.training.conftest import tiny_experiment


def test_it_pauses_between_epochs_of_a_single_step(tmp_path: Path) -> None:
    store = tmp_path / "store"
    corpus = Synthetic(subjects=6, seconds_per_state=16.0)
    prepare("synthetic", folder=None, store=store, settings=PrepareSettings(seconds=1.0), corpus_settings=corpus)
    experiment = tiny_experiment(store, batch_size=1000)
    job = Job(
        evaluation_id=0,
        config_id=0,
        from_epoch=0,
        to_epoch=6,
        experiment=experiment,
        checkpoints=LocalStorage(tmp_path / "run"),
        metrics=("val/loss", "parameters", "seconds_per_epoch"),
    )
    worker = Worker(job)
    [report] = worker.work(lambda: True)
    assert report.epoch == 1
    assert report.metrics["parameters"] == experiment.parameters(worker.training_data) > 1000
    assert report.metrics["seconds_per_epoch"] > 0
    pauses = iter([False, False, True])
    assert [report.epoch for report in worker.work(lambda: next(pauses))] == [2, 3, 4]
    assert not worker.finished


def test_an_exception_is_reported_as_a_failure_and_then_ends_the_worker(tmp_path: Path) -> None:
    experiment = Experiment(store=str(tmp_path / "absent"))
    job = Job(
        evaluation_id=0,
        config_id=0,
        from_epoch=0,
        to_epoch=1,
        experiment=experiment,
        checkpoints=LocalStorage(tmp_path),
    )
    trainable = EvaluationTrainable({"job": job.model_dump_json()})
    report = StepReport.from_result(trainable.step())
    assert report.failure is not None
    assert report.failure.kind == "program_error"
    assert report.failure.message.startswith("DataError: ")
    assert report.ends_worker
    with pytest.raises(DataError):
        trainable.step()
    trainable.cleanup()


def test_after_divergence_the_worker_idles_and_can_be_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(worker: object) -> StepReport:
        raise TrainingDivergedError("the loss is infinite")

    monkeypatch.setattr(EvaluationTrainable, "begin", lambda trainable, job: None)
    monkeypatch.setattr(evaluation, "_train", diverge)
    job = Job(
        evaluation_id=0,
        config_id=0,
        from_epoch=0,
        to_epoch=1,
        experiment=Experiment(),
        checkpoints=LocalStorage(tmp_path),
    )
    trainable = EvaluationTrainable({"job": job.model_dump_json()})
    diverged = StepReport(failure=Failure(kind="diverged", message="the loss is infinite"))
    assert StepReport.from_result(trainable.step()) == diverged
    assert StepReport.from_result(trainable.step()) == StepReport(finished=True)
    assert trainable.reset_config({"job": job.model_dump_json()})
    assert StepReport.from_result(trainable.step()) == diverged
    trainable.cleanup()


@pytest.mark.parametrize("assigned", [[], [0]])
@pytest.mark.parametrize("usable", [False, True])
@pytest.mark.parametrize("build", [None, "13.0"])
@pytest.mark.parametrize("tool", [None, "/usr/bin/nvidia-smi"])
def test_no_worker_trains_on_the_cpu_in_the_place_of_its_gpu(
    monkeypatch: pytest.MonkeyPatch, assigned: list[int], usable: bool, build: str | None, tool: str | None
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.get_gpu_ids", lambda: assigned)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "192.0.2.1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: usable)
    monkeypatch.setattr("torch.version.cuda", build)
    monkeypatch.setattr("shutil.which", lambda _: tool)
    if assigned and not usable and build and tool:
        with pytest.raises(GpuLostError, match=r"torch cannot use GPU \[0\] of node"):
            check_gpu()
    else:
        check_gpu()
