"""Promises of the fast paths: chosen by the machine and the size, open to view, and computing the same function."""

import contextlib
import os
import platform
import resource
import shutil
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from emotune.data.batches import Batch, BatchPlan, batches
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.models import ConvNet, Transformer
from emotune.models.dropout import seed_dropout
from emotune.tasks import Classify, MaskedValues
from emotune.tasks.base import Objective
from emotune.training import execution
from emotune.training.execution import PLAIN, Compute, ExecutionPlan, choose_execution, compile_encoder
from emotune.training.loop import evaluate, train_epoch
from tests.machines import medium_in_bfloat16
from tests.training.conftest import tiny_experiment

MODEL = Transformer(channels=(16, 32), kernels=(17, 9), feedforward=64)
TASKS = {"masked values": MaskedValues(), "classify": Classify(hidden=(16,))}


def make(task: MaskedValues | Classify, chosen: ExecutionPlan) -> Objective:
    torch.manual_seed(0)
    objective = task.build(MODEL.build(channels=2), channels=2, labels=np.array([0.0, 1.0]))
    chosen.prepare(objective)
    return objective


def outcome(task: MaskedValues | Classify, chosen: ExecutionPlan) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one batch, with dropout."""
    objective = make(task, chosen).train()
    signals = torch.randn(4, 2, 256, generator=torch.Generator().manual_seed(1))
    batch = Batch(signals=signals, label=torch.tensor([0.0, 1.0, 1.0, 0.0]), rows=torch.arange(4))
    seed_dropout(objective, seed=1, first=0, count=4)
    with chosen.active(), chosen.autocast():
        loss = objective(batch, generator=torch.Generator().manual_seed(2))
        loss.backward()
    assert loss.dtype == torch.float32
    return loss.item(), {name: weight.grad for name, weight in objective.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize(
    ("chosen", "tolerance"),
    [
        (ExecutionPlan(fixed_rows=True), 1e-5),
        (ExecutionPlan(precision="bf16"), 0.1),
        (ExecutionPlan(precision="bf16", fixed_rows=True), 0.1),
    ],
    ids=str,
)
def test_an_execution_path_computes_what_the_plain_path_computes(
    task: MaskedValues | Classify, chosen: ExecutionPlan, tolerance: float
) -> None:
    check_same(task, chosen, tolerance=tolerance)


def check_same(task: MaskedValues | Classify, chosen: ExecutionPlan, *, tolerance: float) -> None:
    loss, gradients = outcome(task, PLAIN)
    other_loss, others = outcome(task, chosen)
    assert other_loss == pytest.approx(loss, rel=tolerance / 4)
    gradient, other = (torch.cat([part.flatten() for part in parts.values()]) for parts in (gradients, others))
    assert (other - gradient).norm() < tolerance / 2 * gradient.norm()
    assert functional.cosine_similarity(other, gradient, dim=0) > 0.999
    for name, own in gradients.items():
        # what is next to nothing beside the others is mostly rounding
        assert (others[name] - own).norm() < tolerance * max(own.norm(), 0.01 * gradient.norm()), name


def test_the_fused_kernel_computes_the_same_without_dropout() -> None:
    encoders = [make(MaskedValues(), chosen).eval().encoder for chosen in (PLAIN, ExecutionPlan(attention="fused"))]
    signals = torch.randn(3, 2, 64)
    explicit, fused = (encoder(signals) for encoder in encoders)
    torch.testing.assert_close(fused, explicit, rtol=1e-4, atol=1e-5)


def test_padding_to_fixed_rows_does_not_read_the_mask() -> None:
    task = MaskedValues(start_probability=0.1, span=3)
    assert task.training_mask.max_hidden(50) == 15
    assert MaskedValues().training_mask.max_hidden(1280) == 820
    assert task.training_mask.max_hidden(10) == 3
    assert MaskedValues(start_probability=0.9, span=9).training_mask.max_hidden(10) == 10


@pytest.mark.parametrize(
    ("compute", "native", "precision"),
    [
        (Compute(), True, "bf16"),
        (Compute(), False, "fp32"),
        (Compute(precision="bf16"), False, "bf16"),
        (Compute(precision="fp32"), True, "fp32"),
    ],
)
def test_precision_is_chosen_by_the_hardware(
    monkeypatch: pytest.MonkeyPatch, compute: Compute, native: bool, precision: str
) -> None:
    monkeypatch.setattr(execution, "multiplies_bfloat16", lambda device: native)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    chosen = choose_execution(compute, Transformer(), channels=1, samples=1280)
    assert (chosen.precision, chosen.device, chosen.compiled) == (precision, "cpu", False)
    assert choose_execution(
        compute.model_copy(update={"precision": "auto"}), ConvNet(), channels=1, samples=99
    ).dtype == (torch.float32)
    assert precision in str(chosen)


def test_a_network_too_small_to_gain_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "multiplies_bfloat16", lambda device: True)
    assert choose_execution(Compute(), MODEL, channels=1, samples=32).precision == "fp32"
    assert choose_execution(Compute(), MODEL, channels=1, samples=640).precision == "bf16"


def test_a_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, experiment: Experiment) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="torch finds no GPU on this machine"):
        choose_execution(Compute(device="cuda"), MODEL, channels=1, samples=64)


@pytest.mark.parametrize(
    ("setting", "steps", "compiler", "compiled"),
    [
        ("auto", 326 * 500, "/usr/bin/cc", True),
        ("auto", 47 * 27, "/usr/bin/cc", False),
        ("auto", 0, "/usr/bin/cc", False),
        ("auto", 326 * 500, None, False),
        ("on", 1, "/usr/bin/cc", True),
        ("off", 326 * 500, "/usr/bin/cc", False),
    ],
)
def test_a_gpu_compiles_trainings_that_regain_the_time(
    monkeypatch: pytest.MonkeyPatch,
    setting: Literal["auto", "on", "off"],
    steps: int,
    compiler: str | None,
    compiled: bool,
) -> None:
    monkeypatch.setattr(execution, "choose_device", lambda compute: "cuda")
    monkeypatch.setattr(execution, "multiplies_bfloat16", lambda device: True)
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    chosen = choose_execution(Compute(compile=setting), Transformer(), channels=1, samples=1280, steps=steps)
    assert (chosen.compiled, chosen.graphs) == (compiled, compiled)
    assert chosen.fixed_rows


class Rows(nn.Module):
    """An encoder without type checks, which torch cannot compile."""

    def forward(self, signals: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        states = signals.transpose(1, 2).cumsum(dim=1)
        return states if rows is None else states.gather(1, rows[:, :, None].expand(-1, -1, states.shape[2]))


def test_a_compiled_encoder_is_compiled_once_for_all_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, compiled = torch.compile, []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        del inputs
        compiled.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", lambda function, mode: compiler(function, backend=count))
    encoder = Rows()
    compile_encoder(encoder, mode="default")
    for size in (5, 4, 3):
        signals, rows = torch.randn(size, 2, 64), torch.randint(64, (size, 32))
        torch.testing.assert_close(encoder(signals, rows), Rows()(signals, rows))
    assert len(compiled) == 1


def test_compilation_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SettingsError, match="on was given, but torch finds no C compiler"):
        choose_execution(Compute(compile="on"), MODEL, channels=1, samples=64)


@pytest.fixture(params=["this machine", "medium in bfloat16"])
def machine(request: pytest.FixtureRequest) -> Iterator[str]:
    """This machine, and an imitation of one whose ``medium`` products are rounded to bfloat16."""
    execution.medium_is_exact.cache_clear()
    with medium_in_bfloat16() if request.param == "medium in bfloat16" else contextlib.nullcontext():
        yield request.param
    execution.medium_is_exact.cache_clear()


def loses_digits() -> bool:
    """Whether ``medium`` products lose a digit that float32 has and bfloat16 has not."""
    fine = torch.full((64, 64), 1 + 2**-12)
    with ExecutionPlan(matmul="medium").active():
        return not torch.equal(functional.linear(fine, torch.eye(64)), fine)


def test_medium_products_are_used_where_they_lose_no_digits(machine: str) -> None:
    assert loses_digits() or machine == "this machine"
    assert execution.medium_is_exact() != loses_digits()
    chosen = choose_execution(Compute(precision="fp32", device="cpu"), MODEL, channels=2, samples=256)
    assert chosen.matmul == ("highest" if loses_digits() else "medium")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_path_chosen_for_float32_computes_what_the_plain_one_does(task: MaskedValues | Classify) -> None:
    chosen = choose_execution(Compute(precision="fp32", device="cpu"), MODEL, channels=2, samples=256)
    check_same(task, chosen, tolerance=1e-5)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_rounded_medium_products_are_not_what_the_plain_path_computes(task: MaskedValues | Classify) -> None:
    with medium_in_bfloat16(), pytest.raises(AssertionError):
        check_same(task, ExecutionPlan(matmul="medium"), tolerance=1e-5)


@pytest.mark.parametrize(("worse", "used"), [(1.0, True), (3.9, True), (4.1, False), (100.0, False)])
def test_medium_products_may_have_four_times_the_error(
    monkeypatch: pytest.MonkeyPatch, worse: float, used: bool
) -> None:
    monkeypatch.setattr(
        execution, "_product_error", lambda left, right, *, precision: 1e-7 * (worse if precision == "medium" else 1)
    )
    assert execution.medium_is_exact.__wrapped__() == used


def test_training_in_float32_stays_float32_where_medium_products_are_rounded(store: SegmentStore) -> None:
    losses = {}
    for name, machine in {"rounding": medium_in_bfloat16, "plain": contextlib.nullcontext}.items():
        execution.medium_is_exact.cache_clear()
        with machine():
            experiment = tiny_experiment(store.path, compute={"precision": "fp32", "device": "cpu"})
            training_data = experiment.training_data(store)
            report = train_epoch(experiment.begin(training_data), training_data, experiment.training_plan())
        assert report is not None
        losses[name] = [report.metrics["train/loss"], report.metrics["val/loss"]]
    execution.medium_is_exact.cache_clear()
    assert losses["rounding"] == pytest.approx(losses["plain"], rel=1e-5)


def test_the_setting_of_torch_is_restored() -> None:
    before = torch.get_float32_matmul_precision()
    with ExecutionPlan(matmul="medium").active():
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before


def test_deterministic_kernels_are_a_choice_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Compute(deterministic=True)
    assert not choose_execution(compute, MODEL, channels=1, samples=64).deterministic
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    chosen = choose_execution(compute, MODEL, channels=1, samples=64)
    assert chosen.deterministic
    assert "deterministic" in str(chosen)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_training_needs_no_operation_without_a_deterministic_kernel(
    task: MaskedValues | Classify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    check_same(task, ExecutionPlan(deterministic=True), tolerance=1e-5)
    assert not torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    with ExecutionPlan(deterministic=True).active():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()


def test_the_execution_plan_is_described_in_words(store: SegmentStore) -> None:
    experiment = tiny_experiment(store.path, compute={"precision": "bf16", "device": "cpu"}, epochs=2)
    state = experiment.begin(experiment.training_data(store))
    assert state.execution.precision == "bf16"
    assert "bf16" in str(state.execution)
    assert experiment.digest() == tiny_experiment(store.path, epochs=2).digest()


def test_training_in_bfloat16_gives_nearly_the_same_losses(store: SegmentStore) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        experiment = tiny_experiment(store.path, compute={"precision": precision, "device": "cpu"})
        training_data = experiment.training_data(store)
        state = experiment.begin(training_data)
        report = train_epoch(state, training_data, experiment.training_plan())
        assert report is not None
        losses[precision] = report.metrics["train/loss"], report.metrics["val/loss"]
        assert {value.dtype for value in state.objective.parameters()} == {torch.float32}
        again = evaluate(
            state.objective, training_data, training_data.fold.val, prefix="val", execution=state.execution
        )
        assert again["val/loss"] == report.metrics["val/loss"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=1e-2)
    assert losses["bf16"] != losses["fp32"]


def test_signals_in_memory_give_the_same_batches(store: SegmentStore) -> None:
    plan = BatchPlan(size=7, seed=1, epoch=1, shuffle=True)
    rows = np.arange(0, 30, 2)
    lazy = list(batches(store, rows, plan=plan))
    ready = list(batches(store, rows, plan=plan, resident=torch.from_numpy(np.asarray(store.signal).copy())))
    assert all(torch.equal(batch.signals, other.signals) for batch, other in zip(lazy, ready, strict=True))


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="a matter of the GNU C library")
def test_freed_memory_is_used_again() -> None:
    assert execution.keep_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**22)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 5 * 2**24 / resource.getpagesize()


def test_other_libraries_keep_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not execution.keep_memory.__wrapped__()
