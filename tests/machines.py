"""Simulations of machines with other arithmetic than this one."""

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
    """Compute inside the block like a CPU with AMX.

    With ``torch.set_float32_matmul_precision("medium")``, the factors of float32 products are
    rounded to bfloat16, and the sum is in float32: forward, backward and with ``out``. Other precisions and types, and
    products of other processes, do not change.
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

    def product(keys: torch._C.DispatchKeySet, *arguments: Any, **options: Any) -> Tensor:
        if torch.get_float32_matmul_precision() == "medium":
            arguments = tuple(
                _rounded(argument) if position in factors else argument for position, argument in enumerate(arguments)
            )
        return kernel.call_boxed(keys, *arguments, **options)

    library.impl(operator, product, "CPU", with_keyset=True, allow_override=True)


def _rounded(factor: Tensor) -> Tensor:
    return factor.bfloat16().float() if factor.dtype == torch.float32 else factor
