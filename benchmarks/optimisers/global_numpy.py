"""NumPy's global generator, for peers that use it."""

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np


class GlobalNumpy:
    """Gives a peer its own state of the global generator, and suppresses its output and warnings."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed).get_state()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Set the peer's random state, and restore the previous state afterwards."""
        before = np.random.get_state()  # noqa: NPY002
        np.random.set_state(self._state)  # noqa: NPY002
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                yield
        finally:
            self._state = np.random.get_state()  # noqa: NPY002
            np.random.set_state(before)  # noqa: NPY002
