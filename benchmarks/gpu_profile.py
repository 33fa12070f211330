"""The time of training by part of the network and by kernel, from torch's profiler over a few steps."""

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
"""Parts of the network, with words in the names of their kernels; the first match counts."""

LISTED_KERNELS = 15
"""Number of kernels in the table, those with the longest time."""


def part_of(kernel: str) -> str:
    """Return the part of the network that a kernel belongs to, by its name."""
    lowered = kernel.lower()
    return next((part for part, words in PARTS.items() if any(word in lowered for word in words)), "other")


def profile_page(ladder: Ladder, folder: Path) -> str:
    """Profile the last step of the ladder, return two tables, and write the trace to a folder."""
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
    return tables([kernel for kernel in spent if kernel[1] > 0])


def tables(spent: Sequence[tuple[str, float, int]]) -> str:
    """Return a table of the parts' shares of the time, and one of the kernels with the longest time.

    Args:
        spent: Name, microseconds and number of calls of each kernel.
    """
    total = sum(time for _, time, _ in spent)
    parts: dict[str, float] = {}
    for name, time, _ in spent:
        parts[part_of(name)] = parts.get(part_of(name), 0.0) + time
    by_time = sorted(parts.items(), key=lambda part: -part[1])
    shares = markdown(["part", "share of the time"], [[name, f"{time / total:.1%}"] for name, time in by_time])
    longest = sorted(spent, key=lambda kernel: -kernel[1])[:LISTED_KERNELS]
    rows = [[name[:90].replace("|", "/"), f"{count}", f"{time / total:.1%}"] for name, time, count in longest]
    kernels = markdown(["kernel", "calls", "share"], rows)
    return f"## Time by part and by kernel ({total / 1000:.1f} ms of kernels)\n\n{shares}\n\n{kernels}"
