"""How a network is computed: device, precision and the faster of several equal ways, chosen once per run.

What was measured is in `benchmarks/README.md`. Each path computes what the plain one does, up to
rounding; none is chosen by a clock, so that equal machines choose alike.
"""

import contextlib
import ctypes
import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from emotune.base import Settings
from emotune.errors import SettingsError
from emotune.models import ModelSettings, Transformer
from emotune.models.attention import Attention, Kernel
from emotune.tasks import Objective
from emotune.tasks.masked_values import MaskedValueObjective
from emotune.training.workers import joined

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]

LEAST_FLOPS = 5e6
"""Operations per segment below which bfloat16 is not worth its rounding."""

TOLERANCE = 4.0
"""How many times the error of torch's own float32 product another one may have and count as float32."""


class Compute(Settings):
    """How the work is done; decides nothing about the result but its rounding.

    And, on a GPU, which masks and dropouts are drawn: others than on a CPU, just as random.
    """

    threads: int = Field(default=1, ge=1)
    """CPU threads of one worker."""

    patience: float = Field(default=600, ge=0)
    """Seconds without a sign of life after which a run in a search counts as hung, or ten times as long as its epochs
    take if that is longer; until the search has seen an epoch, ten times these seconds. Its worker is killed, and the
    evaluation is tried once more. 0: never."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; ``auto``: on a GPU where there is one."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of matrix products and activations; weights, losses and sums stay in float32. ``auto``: ``bf16`` where the
    hardware multiplies it natively and the network is large enough to gain."""

    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch compiles the encoder; ``auto``: on a GPU, as it does not pay on a CPU."""


@dataclass(frozen=True)
class ExecutionPlan:
    """What is used.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: Of matrix products and activations.
        matmul: What torch's ``float32_matmul_precision`` is set to; ``medium`` only where float32 stays float32.
        attention: How attention is computed; None leaves it to `Attention`.
        fused_optimiser: Whether the optimiser's step is one kernel.
        compiled: Whether torch compiles the encoder.
        graphs: Whether its kernels are launched as CUDA graphs.
        fixed_rows: Whether hidden rows are padded to the most there can be, so that no step waits for the device.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "fp32"
    matmul: Literal["highest", "medium"] = "highest"
    attention: Kernel | None = None
    fused_optimiser: bool = False
    compiled: bool = False
    graphs: bool = False
    fixed_rows: bool = False

    def __str__(self) -> str:
        attention = self.attention or ("explicit" if self.device == "cpu" and not self.compiled else "fused")
        switches = ("fused_optimiser", "compiled", "graphs", "fixed_rows")
        names = [name.replace("_", " ") for name in switches if getattr(self, name)]
        return ", ".join(
            [self.device, self.precision, f"float32 products {self.matmul}", f"{attention} attention", *names]
        )

    @property
    def dtype(self) -> torch.dtype:
        """Type of the matrix products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def prepare(self, objective: Objective) -> None:
        """Move a network to the device and have it computed in this way."""
        objective.to(self.device)
        for part in objective.modules():
            if isinstance(part, Attention):
                part.kernel = self.attention
        if isinstance(objective, MaskedValueObjective):
            objective.pad_rows(fixed=self.fixed_rows)
        if self.compiled:
            objective.encoder.compile(mode="reduce-overhead" if self.graphs else "default")

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Compute in this way inside the block."""
        keep_memory()
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def autocast(self) -> torch.autocast:
        """Return the context of forward passes."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")


PLAIN = ExecutionPlan()
"""What torch does by itself, but for attention and dropout."""


def choose_execution(compute: Compute, model: ModelSettings, *, channels: int, samples: int) -> ExecutionPlan:
    """Choose how to compute, by the settings, the machine and the size of the network.

    Raises:
        SettingsError: A GPU is asked for and there is none.
    """
    device = choose_device(compute)
    large = isinstance(model, Transformer) and model.flops(channels=channels, samples=samples) >= LEAST_FLOPS
    native = multiplies_bfloat16(device)
    precision: Precision = "fp32" if compute.precision == "fp32" else "bf16"
    if compute.precision == "auto" and not (large and native):
        precision = "fp32"
    chosen = ExecutionPlan(device=device, precision=precision, fused_optimiser=True)
    if device == "cpu":
        compiled = compute.compile == "on"
        chosen = replace(chosen, matmul="medium" if medium_is_exact() else "highest", compiled=compiled)
    else:
        compiled = compute.compile != "off"
        chosen = replace(chosen, compiled=compiled, graphs=compiled and joined().size == 1, fixed_rows=True)
    logger.info("computing on %s", chosen)
    return chosen


def choose_device(compute: Compute) -> Literal["cpu", "cuda"]:
    """Choose the device; of several GPUs the one that the worker's ``LOCAL_RANK`` names becomes the current one.

    Raises:
        SettingsError: A GPU is asked for and there is none.
    """
    if compute.device == "cpu" or not torch.cuda.is_available():
        if compute.device == "cuda":
            raise SettingsError("compute.device: cuda was given, but torch sees no GPU here; use auto or cpu")
        return "cpu"
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return "cuda"


def multiplies_bfloat16(device: str) -> bool:
    """Tell whether the hardware multiplies bfloat16 natively."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@lru_cache(maxsize=1)
def medium_is_exact() -> bool:
    """Try on this CPU whether torch's ``medium`` products of float32, which oneDNN computes, keep float32's error.

    On CPUs with AMX they may be rounded to bfloat16.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator, dtype=torch.float64) for _ in range(2))
    errors = {name: _product_error(left, right, precision=name) for name in ("highest", "medium")}
    exact = errors["medium"] <= TOLERANCE * errors["highest"]
    logger.info(
        "relative error of a float32 product: %.2g with highest, %.2g with medium precision, which is %s",
        *errors.values(),
        "used" if exact else "not used",
    )
    return exact


def _product_error(left: torch.Tensor, right: torch.Tensor, *, precision: str) -> float:
    exact = left.float().double() @ right.float().double()
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision(precision)
        product = nn.functional.linear(left.float(), right.float().T)
    return ((product - exact).norm() / exact.norm()).item()


@lru_cache(maxsize=1)
def keep_memory() -> bool:
    """Let this process keep the memory it frees; tell whether the C library could be told so.

    The activations of a step are freed at its end and asked for again in the next. glibc hands such
    large pieces back to the system, which clears every page anew: 14 % of a step's time.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    most, trim, from_system = 2**31 - 1, -1, -3
    library = ctypes.CDLL(None)
    return bool(library.mallopt(trim, most)) and bool(library.mallopt(from_system, most))
