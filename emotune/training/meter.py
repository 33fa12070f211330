"""Speed of training as a share of the hardware's peak, and memory and utilisation of a GPU."""

import importlib.util
import time
from dataclasses import dataclass
from functools import lru_cache

import torch

from emotune.models import ModelSettings

PASSES = 3
"""Operations of a training step over those of a forward pass: the backward pass has two products per forward one."""

PEAK_MEASUREMENT_S = 0.2
"""Time for which `gemm_peak` repeats a matrix product (s)."""

BYTES_PER_GIB = 2**30


def training_flops(model: ModelSettings, *, channels: int, samples: int) -> float:
    """Return the floating-point operations of training on one signal once (a multiply-add is 2).

    These are the operations of the model's definition: three forward passes of the encoder over all its
    rows. Operations that a fast path saves are counted as well, so that shares of a peak can be compared between
    programs. The head is not counted (0.9 % of the published pre-training).
    """
    return PASSES * model.flops(channels=channels, samples=samples)


@dataclass(frozen=True)
class Meter:
    """Measure of an epoch's speed as a share of the hardware's peak.

    Attributes:
        flops: Floating-point operations of training on a segment once, from `training_flops`.
        device: Device of each worker.
        dtype: Type of the matrix products' factors.
        workers: Number of workers.
    """

    flops: float
    device: torch.device
    dtype: torch.dtype = torch.float32
    workers: int = 1

    def metrics(self, segments_per_second: float) -> dict[str, float]:
        """Return an epoch's metrics of speed; the first call in a process measures the device's peak.

        Args:
            segments_per_second: Training segments per second of all workers together.

        Returns:
            ``train/peak_share``: operations per second over those of a large matrix product on the same number of
            devices; and `gpu_metrics` of this worker's device.
        """
        peak = self.workers * gemm_peak(self.device, self.dtype, threads=torch.get_num_threads())
        return {"train/peak_share": self.flops * segments_per_second / peak, **gpu_metrics(self.device)}


@lru_cache(maxsize=16)
def gemm_peak(device: torch.device, dtype: torch.dtype, *, threads: int) -> float:
    """Return the floating-point operations per second of a large matrix product; measured once per process.

    The measurement takes less than 0.5 s. On a CPU float32 is multiplied with the ``float32_matmul_precision`` of
    the first call.

    Args:
        device: Device to measure.
        dtype: Type of both factors.
        threads: CPU threads that torch uses at present; results are kept per number of threads.
    """
    assert device.type != "cpu" or threads == torch.get_num_threads()
    size = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
    product = left @ right
    _wait_for(device)
    best, end = float("inf"), time.perf_counter() + PEAK_MEASUREMENT_S
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
    """Return a GPU's memory and utilisation by all processes on it; an empty dictionary on other devices.

    Returns:
        ``system/gpu_memory_gib``: memory in use (GiB). ``system/gpu_utilisation``: fraction of the driver's last
        sampling interval in which a kernel ran, 0 to 1; only with the package nvidia-ml-py.
    """
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    metrics = {"system/gpu_memory_gib": (total - free) / BYTES_PER_GIB}
    if importlib.util.find_spec("pynvml") is not None:
        metrics["system/gpu_utilisation"] = torch.cuda.utilization(device) / 100
    return metrics
