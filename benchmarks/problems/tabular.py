"""Problems from tables of trained networks, which `benchmarks/make_tables.py` computed."""

import itertools

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, Integer

from benchmarks.problems.base import EPOCHS, Curve, Problem, Values
from benchmarks.problems.grids import TABLES, Grid


class Table:
    """The losses of a grid.

    Attributes:
        losses: Losses of shape (cell, epoch); nan from the epoch in which the training diverged.
        costs: Seconds of an epoch by cell, divided by their median.
    """

    def __init__(self, grid: Grid) -> None:
        with np.load(TABLES / f"{grid.name}.npz") as content:
            self.losses = content["losses"].astype(float)
            self.costs = content["seconds"].astype(float) / np.median(content["seconds"])
        shape = [len(levels) for levels in (*grid.ordered.values(), *grid.unordered.values())]
        levels = itertools.product(*(range(size) for size in shape))
        self._rows = {numbers: row for row, numbers in enumerate(levels)}
        self._grid = grid
        self.truths = np.where(np.isfinite(self.losses[:, -1]), self.losses[:, -1], np.inf)

    def levels_of(self, values: Values) -> tuple[int, ...]:
        """Return the numbers of a configuration's levels."""
        ordered = [int(values[name]) for name in self._grid.ordered]
        return (*ordered, *(levels.index(values[name]) for name, levels in self._grid.unordered.items()))

    def row(self, values: Values) -> int:
        """Return the cell of a configuration."""
        return self._rows[self.levels_of(values)]

    @property
    def levels(self) -> np.ndarray:
        """Numbers of the levels of all cells, of shape (cell, hyperparameter)."""
        return np.array(list(self._rows))


def grid_space(grid: Grid) -> ConfigurationSpace:
    """Return the space of a grid. Ordered levels are integers, because not every peer supports ordinals."""
    numbers = [Integer(name, (0, len(levels) - 1)) for name, levels in grid.ordered.items()]
    return ConfigurationSpace([*numbers, *(Categorical(name, levels) for name, levels in grid.unordered.items())])


def tabular(grid: Grid) -> Problem:
    """Return the problem of a table. Its measured losses are used as the truth."""
    table = Table(grid)

    def curve(values: Values, seed: int) -> Curve:
        del seed
        losses = table.losses[table.row(values)]
        assert losses.shape == (EPOCHS,)
        return losses

    return Problem(
        name=grid.name,
        new_space=lambda: grid_space(grid),
        curve=curve,
        truth=lambda values: table.truths[table.row(values)].item(),
        best=table.truths.min().item(),
        cost=lambda values: table.costs[table.row(values)].item(),
    )
