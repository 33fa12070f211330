"""The global generators of torch, NumPy and Python, for peers that use all of them."""

import contextlib
import random
from collections.abc import Iterator

import torch

from benchmarks.optimisers.global_numpy import GlobalNumpy


class GlobalTorch(GlobalNumpy):
    """Gives a peer its own states of the global generators, and suppresses its output and warnings."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._python = random.Random(seed).getstate()
        self._torch = torch.Generator().manual_seed(seed).get_state()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Set the peer's random states, and restore the previous states afterwards."""
        before, torch_before = random.getstate(), torch.get_rng_state()
        random.setstate(self._python)
        torch.set_rng_state(self._torch)
        try:
            with super().lent():
                yield
        finally:
            self._python, self._torch = random.getstate(), torch.get_rng_state()
            random.setstate(before)
            torch.set_rng_state(torch_before)
