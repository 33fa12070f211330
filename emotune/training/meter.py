"""How near training comes to what the hardware can do, and how much of a GPU is in use."""

import importlib.util
import time
from dataclasses import dataclass
from functools import lru_cache

import torch

from emotune.models import ModelSettings

PASSES = 3
"""A training step costs as much as three forward passes: one forward, and two products per weight backward."""

MEASURING_SECONDS = 0.2
"""Time spent on measuring a peak."""

GIBI = 2**30


def training_flops(model: ModelSettings, *, channels: int, samples: int) -> float:
    """Return the floating-point operations of training on one signal once (a multiply-add is 2).

    These are the operations of the model as it is written down: three forward passes of the encoder over
    all its rows. What a fast path leaves out counts as done; the head is not counted (0.9 % of the
    published pre-training). So shares of a peak can be compared between programs.
    """
    return PASSES * model.flops(channels=channels, samples=samples)


@dataclass(frozen=True)
class Meter:
    """Tells of an epoch how near it came to the hardware's peak.

    Attributes:
        flops: Floating-point operations of training on a segment once, as from `training_flops`.
        device: Where each worker trains.
        dtype: Type that its matrix products are of.
        workers: Number of workers.
    """

    flops: float
    device: torch.device
    dtype: torch.dtype = torch.float32
    workers: int = 1

    def metrics(self, segments_per_second: float) -> dict[str, float]:
        """Return what an epoch is told by; the first call in a process measures the device's peak.

        Args:
            segments_per_second: Of all workers together.

        Returns:
            ``train/peak_share``, the share of what a large matrix product reaches on as many devices,
            and `gpu_metrics` of this worker's.
        """
        peak = self.workers * gemm_peak(self.device, self.dtype, threads=torch.get_num_threads())
        return {"train/peak_share": self.flops * segments_per_second / peak, **gpu_metrics(self.device)}


@lru_cache(maxsize=16)
def gemm_peak(device: torch.device, dtype: torch.dtype, *, threads: int) -> float:
    """Measure the floating-point operations per second of a large matrix product, once per process.

    It takes less than half a second. On a CPU float32 is multiplied as ``set_float32_matmul_precision`` says at
    the first call.

    Args:
        device: Where to measure.
        dtype: Type of both factors.
        threads: CPU threads that torch uses at present; a result is for so many.
    """
    assert device.type != "cpu" or threads == torch.get_num_threads()
    size = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
    product = left @ right
    _wait_for(device)
    best, end = float("inf"), time.perf_counter() + MEASURING_SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        torch.matmul(left, right, out=product)
        _wait_for(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gpu_metrics(device: torch.device) -> dict[str, float]:
    """Return what is in use of a GPU, by all processes on it; nothing on other devices.

    Returns:
        ``system/gpu_memory_gib``: memory in use. ``system/gpu_utilisation``: share of the last moment in which
        something ran, 0 to 1; only where the package nvidia-ml-py is installed.
    """
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    metrics = {"system/gpu_memory_gib": (total - free) / GIBI}
    if importlib.util.find_spec("pynvml") is not None:
        metrics["system/gpu_utilisation"] = torch.cuda.utilization(device) / 100
    return metrics
