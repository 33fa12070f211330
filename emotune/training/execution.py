"""How a network is computed: device, precision, kernels and compilation, chosen once per run.

Every plan computes the same function as `PLAIN`, up to rounding. The choice depends on the settings, the machine and
the size of the network, never on a measured time, so equal machines choose equal plans. Measurements of the plans
are in `benchmarks/README.md`.
"""

import contextlib
import ctypes
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from pydantic import Field, field_validator
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

BF16_MIN_FLOPS = 5e6
"""Operations per segment from which ``precision: auto`` uses bfloat16; smaller networks gain no time from it."""

COMPILE_MIN_STEPS = 4000
"""Optimiser steps of a whole training from which ``compile: auto`` compiles on a GPU. Compilation of training and
validation takes about half a minute; each step, of a small or a large network, is then 6 to 11 ms shorter."""

FLOAT32_ERROR_RATIO = 4.0
"""Largest error of a ``medium`` product, over that of a ``highest`` one, that still counts as float32."""


class Compute(Settings):
    """How a run is computed. It changes a result by rounding only; it is not part of an experiment's digest.

    On a GPU masks and dropouts are drawn by other generators than on a CPU, with the same distribution.
    """

    threads: int = Field(default=1, ge=1)
    """CPU threads of a worker."""

    patience: float = Field(default=600, ge=0)
    """Time without progress after which a trial counts as hung (s), or ten times the duration of its epochs if that is
    longer; before the first epoch of the search it is ten times ``patience``. The worker of a hung trial is killed and
    the evaluation is retried once. 0: never."""

    resources: dict[str, float] = Field(default_factory=dict)
    """Resources of Ray that an evaluation, or each worker of a group, uses beside CPUs and GPUs, for example
    ``{"accelerator_type:A100": 0.001}`` for a kind of GPU, or a name that ``ray start --resources`` gave a node."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the computation; ``auto``: a GPU if the machine has one, otherwise the CPU."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of matrix products and activations; weights, losses and sums stay in float32. ``auto``: ``bf16`` if the
    hardware multiplies bfloat16 natively and the network is large enough to gain from it, otherwise ``fp32``."""

    compile: Literal["auto", "on", "off"] = "auto"
    """Whether torch compiles the encoder. ``auto``: on a GPU, if the run is long enough to regain the time of
    compilation and the machine has a C compiler; never on a CPU, where compilation saves no time."""

    deterministic: bool = False
    """Whether a GPU computes with deterministic kernels only. They are slower, and equal runs give equal results; by
    default a GPU adds in any order, and equal runs differ by rounding. A CPU is always deterministic."""

    @field_validator("resources")
    @classmethod
    def _check_resources(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            if name in {"CPU", "GPU"}:
                remedy = "threads" if name == "CPU" else "--trials-per-gpu"
                raise ValueError(f"{name} was given; the number of {name}s follows from {remedy}")
            if amount <= 0 or (amount > 1 and not float(amount).is_integer()):
                raise ValueError(f"{name}: {amount} was given; expected an amount above 0, and above 1 a whole number")
        return resources


@dataclass(frozen=True)
class ExecutionPlan:
    """How a network is computed.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: Precision of matrix products and activations.
        matmul: Value of torch's ``float32_matmul_precision``; ``medium`` only where products keep float32's error.
        attention: Kernel of attention; None lets `Attention` choose at each call.
        fused_optimiser: Whether the optimiser's step is one kernel.
        compiled: Whether torch compiles the encoder.
        graphs: Whether the encoder's kernels are launched as CUDA graphs.
        fixed_rows: Whether the rows of `MaskedValueObjective` are padded to their largest possible number, so that no
            step waits for the device.
        deterministic: Whether torch uses deterministic kernels only.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "fp32"
    matmul: Literal["highest", "medium"] = "highest"
    attention: Kernel | None = None
    fused_optimiser: bool = False
    compiled: bool = False
    graphs: bool = False
    fixed_rows: bool = False
    deterministic: bool = False

    def __str__(self) -> str:
        attention = self.attention or ("explicit" if self.device == "cpu" and not self.compiled else "fused")
        switches = ("fused_optimiser", "compiled", "graphs", "fixed_rows", "deterministic")
        names = [name.replace("_", " ") for name in switches if getattr(self, name)]
        return ", ".join(
            [self.device, self.precision, f"float32 products {self.matmul}", f"{attention} attention", *names]
        )

    @property
    def dtype(self) -> torch.dtype:
        """Type of the matrix products' factors."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def prepare(self, objective: Objective) -> None:
        """Move an objective to the device, set the kernels of its modules, and compile its encoder if planned."""
        objective.to(self.device)
        for part in objective.modules():
            if isinstance(part, Attention):
                part.kernel = self.attention
        if isinstance(objective, MaskedValueObjective):
            objective.pad_rows(fixed=self.fixed_rows)
        if self.compiled:
            compile_encoder(objective.encoder, mode="reduce-overhead" if self.graphs else "default")

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Set the precision and the determinism of products and convolutions inside the block, then restore them.

        By default cuDNN rounds the factors of a float32 convolution to 11 bits (TF32).
        """
        keep_memory()
        with contextlib.ExitStack() as restored:
            restored.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            restored.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
            torch.set_float32_matmul_precision(self.matmul)
            torch.backends.cudnn.allow_tf32 = False
            if self.deterministic:
                restored.enter_context(deterministic_kernels())
            yield

    def autocast(self) -> torch.autocast:
        """Return the context manager of forward passes."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")


@contextlib.contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Let torch use deterministic kernels only inside the block; an operation that has none raises RuntimeError."""
    # cuBLAS reads the variable at its first product, and torch refuses deterministic products without it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before[0], warn_only=before[1])


def compile_encoder(encoder: nn.Module, *, mode: str) -> None:
    """Compile an encoder once for all batch sizes.

    Joint batches differ in size by one segment, and torch would compile each size anew, half a minute each.

    Args:
        encoder: The encoder; its ``forward`` is replaced.
        mode: Mode of ``torch.compile``.
    """
    # a process that trains many configurations would otherwise exceed torch's number of compilations per function
    torch.compiler.reset()
    compiled = torch.compile(encoder.forward, mode=mode)

    def forward(*inputs: torch.Tensor | None) -> torch.Tensor:
        for tensor in inputs:
            if tensor is not None:
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return compiled(*inputs)

    encoder.forward = forward


PLAIN = ExecutionPlan()
"""The reference: float32 on a CPU with torch's default settings, and the attention and dropout of this package."""


def choose_execution(
    compute: Compute, model: ModelSettings, *, channels: int, samples: int, steps: int = 0
) -> ExecutionPlan:
    """Return the execution plan for the settings, this machine and the size of the network.

    Args:
        compute: The settings.
        model: The settings of the encoder.
        channels: Channels of the segments.
        samples: Samples per channel of a segment.
        steps: Optimiser steps of the whole training; 0 for a prediction.

    Raises:
        SettingsError: ``cuda`` was given and torch finds no GPU; or ``compile: on`` and no C compiler is installed.
    """
    device = choose_device(compute)
    large = isinstance(model, Transformer) and model.flops(channels=channels, samples=samples) >= BF16_MIN_FLOPS
    native = multiplies_bfloat16(device)
    precision: Precision = "fp32" if compute.precision == "fp32" else "bf16"
    if compute.precision == "auto" and not (large and native):
        precision = "fp32"
    deterministic = compute.deterministic and device == "cuda"
    chosen = ExecutionPlan(device=device, precision=precision, fused_optimiser=True, deterministic=deterministic)
    compiled = _compiles(compute, device=device, steps=steps)
    if device == "cpu":
        chosen = replace(chosen, matmul="medium" if medium_is_exact() else "highest", compiled=compiled)
    else:
        chosen = replace(chosen, compiled=compiled, graphs=compiled and joined().size == 1, fixed_rows=True)
    logger.info("computing on %s", chosen)
    return chosen


def _compiles(compute: Compute, *, device: str, steps: int) -> bool:
    """Return whether the encoder is compiled, for the optimiser steps of the whole training."""
    wanted = compute.compile == "on" or (compute.compile == "auto" and device == "cuda" and steps >= COMPILE_MIN_STEPS)
    if not wanted or any(shutil.which(name) for name in (os.environ.get("CC", ""), "cc", "gcc", "clang")):
        return wanted
    if compute.compile == "on":
        raise SettingsError(
            "compute.compile: on was given, but torch finds no C compiler on this machine; install gcc, or use auto"
        )
    logger.info("not compiled, because this machine has no C compiler; with gcc, training on a GPU is faster")
    return False


def choose_device(compute: Compute) -> Literal["cpu", "cuda"]:
    """Return the device; on a machine with several GPUs, make the one with number ``LOCAL_RANK`` the current one.

    Raises:
        SettingsError: ``cuda`` was given and torch finds no GPU.
    """
    if compute.device == "cpu" or not torch.cuda.is_available():
        if compute.device == "cuda":
            raise SettingsError(
                "compute.device: cuda was given, but torch finds no GPU on this machine; use auto or cpu"
            )
        return "cpu"
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return "cuda"


def multiplies_bfloat16(device: str) -> bool:
    """Return whether the hardware multiplies bfloat16 natively."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@lru_cache(maxsize=1)
def medium_is_exact() -> bool:
    """Return whether torch's ``medium`` products of float32 are as exact as its ``highest`` ones on this CPU.

    oneDNN computes ``medium`` products, often faster. On CPUs with AMX it may round their factors to bfloat16, so
    both errors are measured on one random product. The result is the same on equal CPUs.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator, dtype=torch.float64) for _ in range(2))
    errors = {name: _product_error(left, right, precision=name) for name in ("highest", "medium")}
    exact = errors["medium"] <= FLOAT32_ERROR_RATIO * errors["highest"]
    logger.info(
        "relative error of a float32 product: %.2g with highest, %.2g with medium precision; medium is %s",
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
    """Set the C library to keep freed memory for this process; return whether that is possible (glibc only).

    The activations of a step are freed at its end and allocated again in the next one. By default glibc
    returns such large blocks to the system, which then clears every page again: 14 % of a step's time.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold, largest = -1, -3, 2**31 - 1  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    library = ctypes.CDLL(None)
    return bool(library.mallopt(trim_threshold, largest)) and bool(library.mallopt(mmap_threshold, largest))
