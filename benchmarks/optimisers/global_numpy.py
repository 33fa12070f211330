"""NumPy's global generator, for peers that draw from it."""

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np


class GlobalNumpy:
    """Lends a peer the global generator in a state of its own, and silences what it says."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed).get_state()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Put the peer's random state in place, and afterwards ours back."""
        before = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._state)  # noqa: NPY002
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                yield
        finally:
            self._state = np.random.get_state()  # noqa: NPY002
            np.random.set_state(before)  # noqa: NPY002
