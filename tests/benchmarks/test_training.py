"""The reference of the training benchmark computes the same function as the library, and its figures are right."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from benchmarks.plain_training import reference_for
from benchmarks.reference_model import library_name
from benchmarks.timing import side_by_side, spread
from benchmarks.training_cases import Case, cases, synthetic_data
from benchmarks.training_curves import experiment_of, fast_losses, reference_losses
from emotune.data.batches import BatchPlan, batches
from emotune.experiment import Experiment
from emotune.tasks import MaskedValues
from emotune.training.loop import TrainingData

ROOT = Path(__file__).parents[2]
TINY = {"channels": (4, 8), "kernels": (9, 5), "feedforward": 16, "dropout": 0, "attention_dropout": 0}


def tiny(modality: Literal["ecg", "eeg"], task: dict) -> tuple[Experiment, TrainingData]:
    case = Case(modality=modality, seconds=1, task="finetune" if task["kind"] == "classify" else "pretrain")
    experiment = Experiment.model_validate({"model": TINY, "task": task, "batch_size": 6, "epochs": 40})
    return experiment, synthetic_data(case, segments=6)


@pytest.mark.parametrize("task", [{"kind": "masked_values", "head": 8}, {"kind": "classify", "dropout": 0}])
@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_the_reference_has_the_loss_and_the_gradients_of_the_library(
    modality: Literal["ecg", "eeg"], task: dict
) -> None:
    experiment, training_data = tiny(modality, task)
    state = experiment.begin_untrained(training_data)
    reference = reference_for(experiment, state, training_data, device=torch.device("cpu")).network
    order = BatchPlan(size=6, seed=0, epoch=1, shuffle=True)
    (batch,) = batches(training_data.store, training_data.fold.train, plan=order, labels=training_data.labels)
    target = batch.label
    if isinstance(experiment.task, MaskedValues):
        target = experiment.task.training_mask.draw(batch, generator=torch.Generator().manual_seed(0))
    assert target is not None
    loss = reference(batch.signals, target)
    loss.backward()
    expected = state.objective.loss(batch, generator=torch.Generator().manual_seed(0))
    expected.backward()
    torch.testing.assert_close(loss, expected)
    gradients = {name: parameter.grad for name, parameter in state.objective.named_parameters()}
    for name, parameter in reference.encoder.named_parameters():
        theirs = gradients.pop(f"encoder.{library_name(name)}")
        torch.testing.assert_close(parameter.grad, theirs, rtol=1e-3, atol=1e-6, msg=name)
    for name, parameter in reference.head.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients.pop(f"head.{name}"), rtol=1e-3, atol=1e-6, msg=name)
    assert not gradients


def test_without_dropout_both_have_the_same_losses() -> None:
    experiment = experiment_of(size="small", dropout=0.0, threads=1).with_values({"model.layers": 1})
    training_data = synthetic_data(Case(seconds=1), segments=40)
    reference = list(reference_losses(experiment, training_data))
    fast = list(fast_losses(experiment, training_data, precision="fp32"))
    # rounding differs between CPUs, and Adam enlarges it: where a gradient is nearly 0, only its sign counts
    bounds = np.minimum(1e-5 * 2.0 ** np.arange(50), 3e-2)
    assert (np.abs(np.divide(fast, reference) - 1) <= bounds).all()
    assert list(fast_losses(experiment, training_data)) == pytest.approx(reference, rel=5e-2)
    assert len(fast) == 50
    assert sum(fast[-10:]) < sum(fast[:10])


@pytest.mark.parametrize(("case", "gigaflops"), [(Case(), 28.67), (Case(seconds=20), 77.5), (Case(seconds=40), 235.7)])
def test_the_operations_of_the_model_are_those_of_the_documentation(case: Case, gigaflops: float) -> None:
    assert case.flops() / 1e9 == pytest.approx(gigaflops, rel=2e-3)


def test_names_of_cells_are_unique() -> None:
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names) == 48
    assert {case.name for case in cases(quick=True)} <= set(names)


def test_programs_run_in_alternating_order() -> None:
    calls: list[str] = []
    programs = {name: lambda name=name: calls.append(name) for name in "ab"}
    rounds = side_by_side(programs, segments={"a": 1, "b": 2}, seconds=0, least=2)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert [len(times.took) for times in rounds.values()] == [2, 2]


def test_a_spread_is_the_median_with_minimum_and_maximum() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 [1-3]"


FORBIDS_RAY = """
import runpy, sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in {"ray", "mlflow"}, name
sys.meta_path.insert(0, Forbidden())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_benchmark_runs_without_ray(tmp_path: Path) -> None:
    words = ["--only", "ecg-10-pretrain-small-0", "--seconds", "0", "--out", str(tmp_path)]
    words += ["--compute", "precision=fp32"]  # CPUs without bfloat16 compute it many times slower
    done = subprocess.run(
        [sys.executable, "-c", FORBIDS_RAY, str(ROOT / "benchmarks/training.py"), *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # on a busy machine a second thread waits for the first
    )
    assert "| ecg | 10 | pretrain | small | 0 |" in done.stdout
