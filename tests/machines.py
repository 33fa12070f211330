"""Stand-ins for machines that compute otherwise than this one."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

FACTORS = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "baddbmm": (1, 2)}
"""Positions of the two factors among the arguments of each product of torch."""


@contextlib.contextmanager
def medium_in_bfloat16() -> Iterator[None]:
    """Compute inside the block as CPUs with AMX do.

    Where ``torch.set_float32_matmul_precision("medium")`` is set, float32 products are those of factors that are
    rounded to bfloat16, summed in float32: forward, backward and with ``out``. Other precisions and types, and
    products of other processes, are left alone.
    """
    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warning only once for all operators")
            for name, factors in FACTORS.items():
                for overload in (name, f"{name}.out"):
                    _replace(overload, factors=factors, library=library)
        yield
    finally:
        library._destroy()


def _replace(operator: str, *, factors: tuple[int, int], library: torch.library.Library) -> None:
    kernel = torch.library.get_kernel(f"aten::{operator}", "CPU")

    def product(keys: torch._C.DispatchKeySet, *given: Any, **named: Any) -> Tensor:
        if torch.get_float32_matmul_precision() == "medium":
            given = tuple(_rounded(one) if place in factors else one for place, one in enumerate(given))
        return kernel.call_boxed(keys, *given, **named)

    library.impl(operator, product, "CPU", with_keyset=True, allow_override=True)


def _rounded(factor: Tensor) -> Tensor:
    return factor.bfloat16().float() if factor.dtype == torch.float32 else factor
