"""The GPU benchmark's steps compute what they say, and its rehearsal on a CPU measures something."""

from dataclasses import replace

import pytest
import torch

from benchmarks.gpu_ladder import Climbed, Ladder, Step, begin
from benchmarks.gpu_profile import part_of, tables
from benchmarks.training_cases import Case, made_up_material
from emotune.training.execution import ExecutionPlan
from emotune.training.loop import train_epoch

LADDER = Ladder(Case(seconds=1, size="small"), batch=2, device=torch.device("cpu"), seconds=0.0)


def test_all_rows_are_the_same_function() -> None:
    experiment = LADDER.case.experiment(batch_size=4).with_values(
        {"model.dropout": 0.0, "model.attention_dropout": 0.0}
    )
    training_data = made_up_material(LADDER.case, segments=8)
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
def test_every_step_trains_and_agrees(step: Step) -> None:
    measured = replace(LADDER, seconds=0.01).climb(step)
    assert isinstance(measured, Climbed), measured
    assert measured.segments_per_second > 0
    assert measured.apart is None or measured.apart < 0.02


def test_a_step_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(ladder: Ladder, step: Step) -> None:
        raise torch.OutOfMemoryError("out of memory\nand a long story")

    monkeypatch.setattr(Ladder, "epoch_of", fail)
    assert LADDER.climb(LADDER.last) == "failed: out of memory"


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
def test_kernels_belong_to_parts_of_the_network(kernel: str, part: str) -> None:
    assert part_of(kernel) == part


def test_shares_of_the_profile() -> None:
    text = tables([("flash_fwd_kernel", 300.0, 2), ("nvjet_a", 100.0, 4)])
    assert "| attention | 75.0% |" in text
    assert "| linears | 25.0% |" in text
    assert "| flash_fwd_kernel | 2 | 75.0% |" in text
