"""Speed of the kernels that a GPU offers for the published network's convolutions and attention, each by itself.

    python benchmarks/gpu_kernels.py [--batch 256] [--out FILE]

Prints a row per kernel: milliseconds of a forward and a backward pass, and operations per second. With them the
kernels of the fast path were chosen.
"""

import argparse
import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from emotune.models.transformer import convolve, convolve_as_product

SAMPLES = 1280
LAYERS = ((1, 64, 65), (64, 128, 33), (128, 256, 17))
"""Input channels, output channels and kernel size of the published stem's convolutions."""

HEADS, HEAD_WIDTH = 2, 128
HIDDEN_ROWS = 832
"""Rows of the last block, of 1281: the largest number of hidden samples, rounded up to 32."""

ROUNDS = 12


def milliseconds(program: Callable[[], Tensor], inputs: list[Tensor]) -> tuple[float, float]:
    """Return the median duration of a forward pass, and of its backward pass, in ms."""
    forward, backward = [], []
    for _ in range(ROUNDS):
        first, middle, last = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        first.record()
        result = program()
        middle.record()
        torch.autograd.grad(result, inputs, torch.ones_like(result))
        last.record()
        torch.cuda.synchronize()
        forward.append(first.elapsed_time(middle))
        backward.append(middle.elapsed_time(last))
    return statistics.median(forward[2:]), statistics.median(backward[2:])


def convolution_rows(batch: int) -> Iterator[list[str]]:
    """Yield a row per convolution and kernel; the last number counts forward and backward pass."""
    for before, after, size in LAYERS:
        convolution = nn.Conv1d(before, after, size, padding=size // 2).cuda()
        states = torch.randn(batch, SAMPLES, before, device="cuda", dtype=torch.bfloat16, requires_grad=before > 1)
        flops = 2 * batch * SAMPLES * before * after * size
        inputs = [convolution.weight, *([states] if before > 1 else [])]
        for name, program in (
            ("conv1d", lambda c, s: c(s.transpose(1, 2)).transpose(1, 2)),
            ("conv2d, channels last", convolve),
            ("conv2d, channels last, cudnn.benchmark", convolve),
            ("product over windows", convolve_as_product),
        ):
            torch.backends.cudnn.benchmark = "benchmark" in name
            yield _row(
                f"convolution {before} to {after}, {name}",
                partial(program, convolution, states),
                inputs,
                flops=flops,
            )
            torch.backends.cudnn.benchmark = False


def attention_rows(batch: int) -> Iterator[list[str]]:
    """Yield a row per number of queried rows, dropout rate and kernel."""
    steps = SAMPLES + 1
    for rows in (steps, HIDDEN_ROWS):
        query, key, value = (
            torch.randn(batch, number, HEADS * HEAD_WIDTH, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            for number in (rows, steps, steps)
        )
        flops = 4 * batch * rows * steps * HEADS * HEAD_WIDTH
        for rate in (0.1, 0.0):
            for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
                name = f"attention, {rows} rows, dropout {rate:g}, {backend.name.partition('_')[0].lower()}"
                attend = partial(_attend, [query, key, value], rate=rate, backend=backend)
                yield _row(name, attend, [query, key, value], flops=flops)


def _attend(states: list[Tensor], *, rate: float, backend: SDPBackend) -> Tensor:
    query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in states)
    with sdpa_kernel(backend):
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)


def linear_rows(batch: int) -> Iterator[list[str]]:
    """Yield a row per linear layer."""
    for before, after in ((256, 256), (256, 512), (256, 1024), (1024, 256)):
        layer = nn.Linear(before, after).cuda()
        states = torch.randn(batch * (SAMPLES + 1), before, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        flops = 2 * len(states) * before * after
        yield _row(f"linear {before} to {after}", partial(layer, states), [layer.weight, states], flops=flops)


def _row(name: str, program: Callable[[], Tensor], inputs: list[Tensor], *, flops: float) -> list[str]:
    try:
        with torch.autocast("cuda", torch.bfloat16):
            forward, backward = milliseconds(program, inputs)
    except RuntimeError as error:
        torch.cuda.empty_cache()
        return [name, f"failed: {str(error).splitlines()[0][:80]}", "", ""]
    passes = min(1 + len(inputs), 3)  # a product per gradient, of which attention has two per forward one
    rate = passes * flops / (forward + backward) / 1e9
    return [name, f"{forward:.3g}", f"{backward:.3g}", f"{rate:.4g}"]


HEAD = ["kernel", "forward, ms", "backward, ms", "TFLOP/s"]


def rows(batch: int) -> Iterator[list[str]]:
    """Yield all rows."""
    for part in (attention_rows, convolution_rows, linear_rows):
        with contextlib.suppress(torch.OutOfMemoryError):
            yield from part(batch)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch finds no GPU on this machine")
    for row in [HEAD, *rows(given.batch)]:
        sys.stdout.write(" | ".join(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
