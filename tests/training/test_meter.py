"""The meter: costs go by the model, peaks are those of this machine, and shares follow from both."""

from itertools import cycle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotune.models import ConvNet, Transformer
from emotune.training.meter import PEAK_MEASUREMENT_S, Meter, gemm_peak, gpu_metrics, training_flops

CPU = torch.device("cpu")


def test_a_peak_is_measured_once() -> None:
    gemm_peak.cache_clear()
    peak = gemm_peak(CPU, torch.float32, threads=torch.get_num_threads())
    assert 1e8 < peak < 1e14
    assert gemm_peak(CPU, torch.float32, threads=torch.get_num_threads()) == peak
    assert gemm_peak.cache_info().misses == 1


@pytest.mark.parametrize("seconds", [(0.02, 0.01, 0.04), (0.5,)], ids=["several products", "one slow product"])
def test_a_peak_is_that_of_the_fastest_product_that_begins_in_time(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...]
) -> None:
    """By a clock that only products move: no more are begun after the time for measuring."""
    now, took = [0.0], cycle(seconds)
    begun: list[float] = []

    def multiply(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> None:
        begun.append(now[0])
        now[0] += next(took)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(torch, "matmul", multiply)
    peak = gemm_peak.__wrapped__(CPU, torch.float32, threads=torch.get_num_threads())
    assert peak == pytest.approx(2 * 1024**3 / min(seconds))
    assert max(begun) < PEAK_MEASUREMENT_S <= now[0]


@pytest.mark.parametrize("model", [Transformer(), ConvNet()])
def test_training_costs_three_forward_passes(model: Transformer | ConvNet) -> None:
    forward = model.flops(channels=1, samples=1280)
    assert training_flops(model, channels=1, samples=1280) == 3 * forward


def test_the_published_pretraining_costs_what_was_counted_by_hand() -> None:
    assert training_flops(Transformer(), channels=1, samples=1280) == pytest.approx(28.7e9, rel=0.01)


@given(rate=st.floats(0, 1e6), workers=st.integers(1, 64))
def test_the_peak_share_is_proportional_to_the_rate_and_of_all_workers_devices(rate: float, workers: int) -> None:
    single = Meter(flops=1e9, device=CPU).metrics(1.0)["train/peak_share"]
    shared = Meter(flops=1e9, device=CPU, workers=workers).metrics(rate)
    assert shared["train/peak_share"] == pytest.approx(rate * single / workers)


def test_a_cpu_has_no_gpu_metrics() -> None:
    assert gpu_metrics(CPU) == {}
