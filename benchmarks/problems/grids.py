"""The grids of the tables: the configurations that were trained."""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

TABLES = Path(__file__).parents[1] / "tables"

Values = dict[str, Any]


class Grid(NamedTuple):
    """Levels of each hyperparameter; those with an order are in ascending order."""

    name: str
    ordered: dict[str, list[int | float]]
    unordered: dict[str, list[str]]


DIGITS_MLP = Grid(
    "digits_mlp",
    {
        "lr": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        "units": [8, 32, 128],
        "layers": [1, 2],
        "batch_size": [16, 64, 256],
        "alpha": [1e-5, 1e-1],
    },
    {"solver": ["adam", "sgd"], "activation": ["relu", "tanh"]},
)

ECG_TRANSFORMER = Grid(
    "ecg_transformer",
    {
        "lr": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        "layers": [1, 2],
        "heads": [1, 4],
        "width": [8, 16],
        "warmup_epochs": [1, 9],
        "batch_size": [16, 64],
        "span": [5, 20],
    },
    {},
)


def cells(grid: Grid) -> list[Values]:
    """List all configurations of a grid; the last hyperparameter changes fastest."""
    levels = {**grid.ordered, **grid.unordered}
    return [dict(zip(levels, chosen, strict=True)) for chosen in itertools.product(*levels.values())]
