"""Independent random streams, each derived from one seed and a name."""

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """Return the seed of a named stream: the first 63 bits of the SHA-256 of seed and names.

    Equal arguments give equal seeds on every machine and in every version of Python.

    Args:
        seed: The seed of the run or search.
        names: Name of the stream, for instance ``"mask", epoch``.

    Returns:
        A number from 0 to 2**63 - 1, valid for NumPy and torch generators.
    """
    text = "/".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the NumPy generator of a named stream (see `derive_seed`)."""
    return np.random.default_rng(derive_seed(seed, *names))
