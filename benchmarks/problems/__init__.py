"""The problems, by name."""

import functools
from collections.abc import Callable

from benchmarks.problems.base import EPOCHS, LADDER, Curve, Problem, Values
from benchmarks.problems.counting_ones import counting_ones
from benchmarks.problems.curves import learning_curves
from benchmarks.problems.grids import DIGITS_MLP, ECG_TRANSFORMER
from benchmarks.problems.hartmann import SIX, THREE, multi_fidelity_hartmann
from benchmarks.problems.heldout import noisy_bumps, random_curves, smoothed_table
from benchmarks.problems.tabular import tabular

__all__ = ["EPOCHS", "INSTANCES", "LADDER", "PROBLEMS", "Curve", "Problem", "Values", "problem_of"]

INSTANCES = 5
"""Number of members of a held-out family; the run with seed s uses member ``s % INSTANCES``."""

PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "mfh3_good": lambda _: multi_fidelity_hartmann(THREE, preset="good", name="mfh3_good"),
    "mfh3_terrible": lambda _: multi_fidelity_hartmann(THREE, preset="terrible", name="mfh3_terrible"),
    "mfh6_good": lambda _: multi_fidelity_hartmann(SIX, preset="good", name="mfh6_good"),
    "mfh6_bad": lambda _: multi_fidelity_hartmann(SIX, preset="bad", name="mfh6_bad"),
    "counting_ones": lambda _: counting_ones(),
    "learning_curves": lambda _: learning_curves(),
    "digits_mlp": lambda _: tabular(DIGITS_MLP),
    "ecg_transformer": lambda _: tabular(ECG_TRANSFORMER),
    "held_bumps": noisy_bumps,
    "held_curves": random_curves,
    "held_smoothed": lambda member: smoothed_table((DIGITS_MLP, ECG_TRANSFORMER)[member % 2], member=member),
}
"""Functions that return a problem for the number of a family's member. Names with ``held_`` are held out."""


@functools.cache
def _member(name: str, member: int) -> Problem:
    return PROBLEMS[name](member)


def problem_of(name: str, *, seed: int) -> Problem:
    """Return a problem for the run of a seed."""
    return _member(name, seed % INSTANCES if name.startswith("held_") else 0)
