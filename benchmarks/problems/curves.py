"""A conditional space of nine hyperparameters with learning curves that cross and some that diverge."""

import math

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, GreaterThanCondition, Integer

from benchmarks.problems.base import EPOCHS, Curve, Problem, Values, noise
from emotune.randomness import derive_seed

NOISE = 0.004
TYPICAL_COST = 0.77
"""Median over random configurations of ``layers * (width / 128)**2``."""
BEST = 0.138288
"""Lowest known loss, from local searches that start at thousands of random configurations; a test searches again."""


def learning_curves() -> Problem:
    """Return the problem. It was designed for this benchmark to resemble small networks.

    A higher effective learning rate learns faster but, above its optimum, ends at a higher loss. Above a limit that
    depends on depth and warm-up it diverges; the higher it is, the earlier. Depth, regularisation and augmentation
    determine the final loss.
    """
    return Problem(
        name="learning_curves",
        new_space=_space,
        curve=_curve,
        truth=lambda values: _noiseless(values)[-1].item() if math.isinf(_breaks(values)) else math.inf,
        best=BEST,
        cost=lambda values: values["layers"] * (values["width"] / 128) ** 2 / TYPICAL_COST,
    )


def _space() -> ConfigurationSpace:
    space = ConfigurationSpace(
        [
            Categorical("optimiser", ["adam", "sgd"]),
            Float("lr", (1e-5, 1.0), log=True),
            Float("momentum", (0.0, 0.99)),
            Integer("layers", (1, 6)),
            Integer("width", (16, 256), log=True),
            Float("dropout", (0.0, 0.6)),
            Categorical("augmentation", ["none", "mask", "mix"]),
            Float("mask_share", (0.05, 0.9)),
            Integer("warmup", (0, 9)),
        ]
    )
    space.add(EqualsCondition(space["momentum"], space["optimiser"], "sgd"))
    space.add(EqualsCondition(space["mask_share"], space["augmentation"], "mask"))
    space.add(GreaterThanCondition(space["dropout"], space["layers"], 1))
    return space


def _speed(values: Values) -> float:
    """Return the logarithm of the effective learning rate; 0 is the optimum."""
    if values["optimiser"] == "adam":
        return math.log10(values["lr"]) + 2.7 + 0.1 * values["layers"]
    return math.log10(values["lr"] / (1 - values["momentum"])) + 0.5 + 0.1 * values["layers"]


def _breaks(values: Values) -> float:
    """Return the epoch in which the training diverges; infinity if it does not."""
    limit = 1.8 - 0.12 * values["layers"] + 0.08 * values["warmup"]
    excess = _speed(values) - limit
    return math.inf if excess <= 0 else max(1.0, 12 * (1 - excess))


def _end(values: Values) -> float:
    """Return the limit of the curve after very long training."""
    depth = 0.05 * math.exp(-0.7 * (values["layers"] - 1)) + 0.012 * max(0, values["layers"] - 4)
    width = 0.04 * abs(math.log2(values["width"] / 96)) / 2
    dropout = 0.5 * (values.get("dropout", 0.0) - 0.18) ** 2
    augmentation = {"none": 0.05, "mix": 0.025, "mask": 0.0}[values["augmentation"]]
    mask = 0.15 * (values.get("mask_share", 0.4) - 0.4) ** 2
    return 0.12 + depth + width + dropout + augmentation + mask + 0.02 * (values["optimiser"] == "sgd")


def _noiseless(values: Values) -> np.ndarray:
    """Return the curve as if it did not diverge."""
    speed = _speed(values)
    end = _end(values) + 0.03 * max(0.0, speed) ** 2
    pace = 0.75 * math.exp(-0.5 * min(0.0, speed) ** 2) + 0.1 * max(0.0, speed)
    pace *= (1.3 - 0.12 * values["layers"]) * (1 - 0.6 * values.get("dropout", 0.0))
    trained = np.maximum(np.arange(1, EPOCHS + 1) - 0.5 * values["warmup"], 0.5)
    return end + 0.5 * (1 + trained) ** (-2 * pace)


def _curve(values: Values, seed: int) -> Curve:
    error = NOISE * noise(values, seed=derive_seed(seed, "learning-curves"), count=EPOCHS)
    curve = _noiseless(values) + error
    curve[np.arange(1, EPOCHS + 1) >= _breaks(values)] = np.nan
    return curve
