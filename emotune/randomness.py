"""One seed in, independent named streams out."""

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive an independent seed from a seed and the name of what it is for.

    Equal arguments give equal seeds on every machine and in every version of Python.

    Args:
        seed: The seed of the whole run or search.
        names: What the stream is for, for instance ``"mask", epoch``.

    Returns:
        A number between 0 and 2**63 - 1, fit for NumPy and torch generators.
    """
    text = "/".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator for one named purpose (see `derive_seed`)."""
    return np.random.default_rng(derive_seed(seed, *names))
