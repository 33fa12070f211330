"""The steps of the GPU benchmark compute the same function, and a rehearsal on a CPU measures each of them."""

from dataclasses import replace

import pytest
import torch

from benchmarks.gpu_ladder import Ladder, Step, StepSpeed, begin
from benchmarks.gpu_profile import part_of, tables
from benchmarks.training_cases import Case, synthetic_data
from emotune.training.execution import ExecutionPlan
from emotune.training.loop import train_epoch

LADDER = Ladder(Case(seconds=1, size="small"), batch=2, device=torch.device("cpu"), seconds=0.0)


def test_computing_all_rows_gives_the_same_loss() -> None:
    experiment = LADDER.case.experiment(batch_size=4).with_values(
        {"model.dropout": 0.0, "model.attention_dropout": 0.0}
    )
    training_data = synthetic_data(LADDER.case, segments=8)
    steps = [Step("", ExecutionPlan(), all_rows=given) for given in (False, True)]
    pruned, whole = (begin(experiment, training_data, step=step) for step in steps)
    rows: list[int] = []
    last = whole.objective.get_submodule("encoder.blocks.1")
    last.register_forward_hook(lambda module, inputs, states: rows.append(states.shape[1]))
    for state in (pruned, whole):
        train_epoch(state, training_data, experiment.training_plan())
    assert rows == [129, 129]
    assert whole.history[0].metrics["train/loss"] == pytest.approx(pruned.history[0].metrics["train/loss"], rel=1e-5)


@pytest.mark.parametrize("step", list(LADDER.steps()), ids=lambda step: step.name)
def test_every_step_trains_and_has_the_loss_of_float32(step: Step) -> None:
    measured = replace(LADDER, seconds=0.01).measure(step)
    assert isinstance(measured, StepSpeed), measured
    assert measured.segments_per_second > 0
    assert measured.loss_difference is None or measured.loss_difference < 0.02


def test_a_step_that_fails_returns_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ladder: Ladder, step: Step) -> None:
        raise torch.OutOfMemoryError("out of memory\nand more lines")

    monkeypatch.setattr(Ladder, "epoch_of", fail)
    assert LADDER.measure(LADDER.last) == "failed: out of memory"


@pytest.mark.parametrize(
    ("kernel", "part"),
    [
        ("aten::mkldnn_convolution", "convolutions"),
        ("sm90_xmma_fprop_implicit_gemm_bf16", "convolutions"),
        ("nvjet_tst_128x256_64x4", "linears"),
        ("flash_fwd_kernel", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop_wgmma", "attention"),
        ("triton_poi_fused_add_native_dropout_1", "compiled element-wise"),
        ("Memcpy HtoD (Pinned -> Device)", "copies"),
        ("something new", "other"),
    ],
)
def test_kernels_are_assigned_to_parts_of_the_network(kernel: str, part: str) -> None:
    assert part_of(kernel) == part


def test_the_profile_has_shares_by_part_and_by_kernel() -> None:
    text = tables([("flash_fwd_kernel", 300.0, 2), ("nvjet_a", 100.0, 4)])
    assert "| attention | 75.0% |" in text
    assert "| linears | 25.0% |" in text
    assert "| flash_fwd_kernel | 2 | 75.0% |" in text
