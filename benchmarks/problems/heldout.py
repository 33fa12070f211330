"""Families of problems that must not be used for tuning: they are for one evaluation at the end."""

from collections.abc import Callable

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer
from scipy.optimize import differential_evolution

from benchmarks.problems.base import EPOCHS, Curve, Problem, Values, noise, progress
from benchmarks.problems.grids import Grid
from benchmarks.problems.tabular import Table, grid_space
from emotune.randomness import derive_seed, stream

BUMPS = 12
DIMENSIONS = 5
NEIGHBOURS = 8
HIDDEN = 24

Function = Callable[[np.ndarray], np.ndarray]
"""Maps points of the unit cube, of shape (dimension, point), to values."""


def _bumps(generator: np.random.Generator) -> Function:
    centres = generator.random((BUMPS, DIMENSIONS))
    widths = generator.uniform(0.15, 0.5, size=(BUMPS, DIMENSIONS))
    depths = generator.gamma(2.0, 0.5, size=BUMPS)

    def value(points: np.ndarray) -> np.ndarray:
        distances = ((points.T[:, None] - centres) / widths) ** 2
        return -(np.exp(-0.5 * distances.sum(axis=2)) @ depths)

    return value


def _minimum(function: Function, *, dimensions: int) -> float:
    """Return the lowest value that is found on the unit cube."""
    bounds = [(0.0, 1.0)] * dimensions
    result = differential_evolution(
        function, bounds, vectorized=True, updating="deferred", popsize=20, maxiter=300, tol=1e-10, rng=0
    )
    return float(result.fun)


def noisy_bumps(member: int) -> Problem:
    """Return a function with twelve random minima, whose low fidelities are mixed with another such function."""
    generator = stream(member, "held-bumps")
    wanted, misleading = _bumps(generator), _bumps(generator)
    share, scale = generator.uniform(0.2, 0.8), generator.uniform(0.05, 0.3)
    missing = 1 - progress()
    names = [f"u{number}" for number in range(DIMENSIONS)]

    def point(values: Values) -> np.ndarray:
        return np.array([[values[name]] for name in names])

    def curve(values: Values, seed: int) -> Curve:
        own, other = wanted(point(values)), misleading(point(values))
        error = noise(values, seed=derive_seed(seed, "held-bumps", member), count=EPOCHS)
        return own + missing * share * (other - own) + scale * (0.1 + missing) * error

    return Problem(
        name="held_bumps",
        new_space=lambda: ConfigurationSpace([Float(name, (0.0, 1.0)) for name in names]),
        curve=curve,
        truth=lambda values: wanted(point(values)).item(),
        best=_minimum(wanted, dimensions=DIMENSIONS),
        held_out=True,
    )


def _network(generator: np.random.Generator, *, inputs: int) -> Function:
    """Return a random function with two hidden layers, similar to a draw from a Gaussian process."""
    first = generator.normal(size=(HIDDEN, inputs)) * 2.0
    shift = generator.normal(size=(HIDDEN, 1))
    second = generator.normal(size=(HIDDEN, HIDDEN)) / np.sqrt(HIDDEN)
    last = generator.normal(size=HIDDEN) / np.sqrt(HIDDEN)
    return lambda points: last @ np.tanh(second @ np.tanh(first @ (points - 0.5) + shift))


def _tabular_learning_space() -> ConfigurationSpace:
    """Return a space like that of LCBench."""
    return ConfigurationSpace(
        [
            Integer("batch_size", (16, 512), log=True),
            Float("lr", (1e-4, 1e-1), log=True),
            Float("momentum", (0.1, 0.99)),
            Float("weight_decay", (1e-5, 1e-1)),
            Integer("layers", (1, 5)),
            Integer("units", (64, 1024), log=True),
            Float("dropout", (0.0, 1.0)),
        ]
    )


def random_curves(member: int) -> Problem:
    """Return a problem of power-law curves whose limit, exponent and height are random functions of seven values."""
    generator = stream(member, "held-curves")
    space = _tabular_learning_space()
    end, pace, height = (_network(generator, inputs=len(space)) for _ in range(3))
    trained = np.arange(1, EPOCHS + 1)[:, None]

    def curves(points: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        rate = np.exp(0.8 * pace(points) - 0.7)
        return np.exp(0.6 * end(points)) + np.exp(0.3 * height(points)) * epochs**-rate

    def point(values: Values) -> np.ndarray:
        return np.array([[float(space[name].to_vector(values[name]))] for name in space])

    def curve(values: Values, seed: int) -> Curve:
        error = noise(values, seed=derive_seed(seed, "held-curves", member), count=EPOCHS)
        return curves(point(values), trained)[:, 0] + 0.02 * error

    return Problem(
        name="held_curves",
        new_space=_tabular_learning_space,
        curve=curve,
        truth=lambda values: curves(point(values), trained[-1:]).item(),
        # the integers are dense enough for the bound of the continuous problem
        best=_minimum(lambda points: curves(points, trained[-1:])[0], dimensions=len(space)),
        cost=lambda values: (values["units"] / 256) ** 0.5 * (values["layers"] / 3) ** 0.5,
        held_out=True,
    )


def smoothed_table(grid: Grid, *, member: int) -> Problem:
    """Return a continuous problem from a grid: the mean of the nearest cells, weighted by the inverse squared distance.

    A configuration diverges if its nearest cell diverged.
    """
    table = Table(grid)
    numbers = len(grid.ordered)
    cells = table.levels.astype(float)
    spans = np.array([len(levels) - 1 for levels in grid.ordered.values()], dtype=float)
    rates = np.log(table.losses - np.nanmin(table.losses) + 0.02 * np.nanstd(table.losses))

    def curve(values: Values) -> Curve:
        ordered = np.array([values[name] for name in grid.ordered]) / spans
        choices = [levels.index(values[name]) for name, levels in grid.unordered.items()]
        distances = ((cells[:, :numbers] / spans - ordered) ** 2).sum(axis=1)
        distances += np.where((cells[:, numbers:] == choices).all(axis=1), 0.0, np.inf)
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        if not np.isfinite(rates[nearest[0], -1]):
            return rates[nearest[0]]
        known = nearest[np.isfinite(rates[nearest, -1])]
        weights = 1 / (distances[known] + 1e-9)
        return weights @ rates[known] / weights.sum()

    def noisy(values: Values, seed: int) -> Curve:
        return curve(values) + 0.02 * noise(values, seed=derive_seed(seed, "smoothed", member), count=EPOCHS)

    def new_space() -> ConfigurationSpace:
        space = grid_space(grid)
        floats = [Float(name, (0.0, len(levels) - 1.0)) for name, levels in grid.ordered.items()]
        return ConfigurationSpace([*floats, *(space[name] for name in grid.unordered)])

    def truth(values: Values) -> float:
        end = curve(values)[-1].item()
        return end if np.isfinite(end) else np.inf

    best = np.nanmin(rates[:, -1]).item()
    return Problem("held_smoothed", new_space, noisy, truth, best, held_out=True)
