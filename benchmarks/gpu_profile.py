"""Where the time of training goes: torch's profiler over a few steps, by part of the network and by kernel."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_ladder import Ladder
from benchmarks.markdown import markdown

PARTS = {
    "compiled element-wise": ("triton",),
    "attention": ("flash", "fmha", "sdpa", "attention", "softmax", "bmm", "_explicit"),
    "convolutions": ("conv", "fprop", "dgrad", "wgrad"),
    "linears": ("gemm", "cutlass", "nvjet", "addmm", "linear", "aten::mm", "matmul"),
    "normalisation": ("layer_norm", "layernorm", "native_norm"),
    "dropout and random numbers": ("dropout", "philox", "rand", "bernoulli", "distribution"),
    "optimiser": ("adam", "multi_tensor", "foreach"),
    "copies": ("memcpy", "memset", "copy", "cat"),
    "element-wise": ("elementwise", "aten::add", "aten::mul", "relu", "clamp", "reduce", "sum"),
}
"""Parts by words in the names of kernels, the first that fits."""

SHOWN = 15
"""Kernels."""


def part_of(kernel: str) -> str:
    """Return which part of the network a kernel belongs to, as far as its name tells."""
    lowered = kernel.lower()
    return next((part for part, words in PARTS.items() if any(word in lowered for word in words)), "other")


def profile_page(ladder: Ladder, folder: Path) -> str:
    """Profile the last step of the ladder, and return two tables; the trace is written to a folder."""
    epoch = ladder.epoch_of(ladder.last)
    for _ in range(2):
        epoch()
    on_gpu = ladder.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        epoch()
        if on_gpu:
            torch.cuda.synchronize(ladder.device)
    profiler.export_chrome_trace(str(folder / "trace.json.gz"))
    spent = [
        (event.key, event.self_device_time_total if on_gpu else event.self_cpu_time_total, event.count)
        for event in profiler.key_averages()
        if not on_gpu or event.device_type == torch.autograd.DeviceType.CUDA
    ]
    return tables([one for one in spent if one[1] > 0])


def tables(spent: Sequence[tuple[str, float, int]]) -> str:
    """Return the shares of the parts, and the longest kernels.

    Args:
        spent: Kernels with microseconds and calls.
    """
    total = sum(time for _, time, _ in spent)
    parts: dict[str, float] = {}
    for name, time, _ in spent:
        parts[part_of(name)] = parts.get(part_of(name), 0.0) + time
    by_time = sorted(parts.items(), key=lambda part: -part[1])
    shares = markdown(["part", "share of the time"], [[name, f"{time / total:.1%}"] for name, time in by_time])
    longest = sorted(spent, key=lambda one: -one[1])[:SHOWN]
    rows = [[name[:90].replace("|", "/"), f"{count}", f"{time / total:.1%}"] for name, time, count in longest]
    kernels = markdown(["kernel", "calls", "share"], rows)
    return f"## Where the time goes ({total / 1000:.1f} ms of kernels)\n\n{shares}\n\n{kernels}"
