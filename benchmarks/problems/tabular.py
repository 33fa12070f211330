"""Grids of really trained networks, looked up; see `benchmarks/make_tables.py`."""

import itertools

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, Integer

from benchmarks.problems.base import EPOCHS, Curve, Problem, Values
from benchmarks.problems.grids import TABLES, Grid


class Table:
    """The losses of a grid.

    Attributes:
        losses: Of shape (cell, epoch); nan from where the training diverged.
        costs: Seconds of an epoch by cell, over their median.
    """

    def __init__(self, grid: Grid) -> None:
        with np.load(TABLES / f"{grid.name}.npz") as content:
            self.losses = content["losses"].astype(float)
            self.costs = content["seconds"].astype(float) / np.median(content["seconds"])
        shape = [len(levels) for levels in (*grid.ordered.values(), *grid.unordered.values())]
        places = itertools.product(*(range(size) for size in shape))
        self._rows = {place: row for row, place in enumerate(places)}
        self._grid = grid
        self.truths = np.where(np.isfinite(self.losses[:, -1]), self.losses[:, -1], np.inf)

    def place(self, values: Values) -> tuple[int, ...]:
        """Return the levels of a configuration by number."""
        ordered = [int(values[name]) for name in self._grid.ordered]
        return (*ordered, *(levels.index(values[name]) for name, levels in self._grid.unordered.items()))

    def row(self, values: Values) -> int:
        """Return the cell of a configuration."""
        return self._rows[self.place(values)]

    @property
    def places(self) -> np.ndarray:
        """Levels of all cells, of shape (cell, hyperparameter)."""
        return np.array(list(self._rows))


def grid_space(grid: Grid) -> ConfigurationSpace:
    """Return the space of a grid. Ordered levels are searched by number: not every peer knows ordinals."""
    numbers = [Integer(name, (0, len(levels) - 1)) for name, levels in grid.ordered.items()]
    return ConfigurationSpace([*numbers, *(Categorical(name, levels) for name, levels in grid.unordered.items())])


def tabular(grid: Grid) -> Problem:
    """Make the problem of a table. Its losses are those that were measured, and are taken as the truth."""
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
