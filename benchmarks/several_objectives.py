"""Searches with two objectives: the dominated area of the front over the trained epochs, compared with random search.

    python -m benchmarks.several_objectives [--seeds 10] [--searchers bohb:gain,bohb:rungs,asha,random]

``zdt1`` is the first problem of Zitzler, Deb and Thiele (Evolutionary Computation 2000) in five dimensions. ``sizes``
is a model of a network's error and its number of parameters, from a thousand to ten million. Both have a learning
curve and noise. The area is that of the true losses at the largest budget of the front that the search reports, as a
share of the area that the exact front dominates.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click
from ConfigSpace import ConfigurationSpace, Float

from emotune.randomness import stream
from emotune.search import Optimizer
from emotune.search.pareto import Losses, Score, pareto_order

EPOCHS = 27
BUDGET = 40
"""Length of a search, in full evaluations."""

SHARES = (0.25, 0.5, 1.0)
"""Shares of the budget at which the area is computed."""

Values = dict[str, Any]


class Problem(NamedTuple):
    """Two losses of a configuration."""

    space: Callable[[], ConfigurationSpace]
    losses: Callable[[Values], Losses]
    """True losses at the largest budget."""
    worst: Losses
    """Corner of the dominated area."""
    front: Sequence[Losses]
    """Points of the exact front."""


def _zdt1(values: Values) -> Losses:
    first, *others = (values[f"x{number}"] for number in range(5))
    slope = 1 + 9 * sum(others) / len(others)
    return first, slope * (1 - math.sqrt(first / slope))


def _sizes(values: Values) -> Losses:
    size, rate, dropout = values["size"], values["rate"], values["dropout"]
    best_rate = 0.03 * (size / 1e3) ** -0.25
    error = 0.1 + 0.8 * (size / 1e3) ** -0.3
    return error + 0.05 * math.log10(rate / best_rate) ** 2 + 0.3 * (dropout - 0.2) ** 2, size


def _sizes_space() -> ConfigurationSpace:
    rates = Float("rate", (1e-5, 1.0), log=True)
    return ConfigurationSpace(space=[Float("size", (1e3, 1e7), log=True), rates, Float("dropout", (0.0, 0.6))])


PROBLEMS = {
    "zdt1": Problem(
        lambda: ConfigurationSpace(space=[Float(f"x{number}", (0.0, 1.0)) for number in range(5)]),
        _zdt1,
        worst=(1.1, 6.0),
        front=[(step / 500, 1 - math.sqrt(step / 500)) for step in range(501)],
    ),
    "sizes": Problem(
        _sizes_space,
        _sizes,
        worst=(1.2, 1e7),
        front=[(0.1 + 0.8 * 10 ** (-0.3 * step / 100), 10 ** (3 + step / 100)) for step in range(401)],
    ),
}


def area(points: Sequence[Losses], *, worst: Losses) -> float:
    """Return the area that points with two losses dominate, up to a corner; of ``sizes`` on a logarithmic axis."""
    total, height = 0.0, worst[1]
    for first, second in sorted(points):
        if first < worst[0] and second < height:
            total += (worst[0] - first) * (height - second)
            height = second
    return total


def _scaled(points: Sequence[Losses], *, name: str) -> list[Losses]:
    """Return losses in the units of the area: the logarithm of sizes."""
    return [(first, math.log10(second)) if name == "sizes" else (first, second) for first, second in points]


def run(name: str, *, seed: int, budget: int = BUDGET, **options: Any) -> list[float]:
    """Return the share of the area at each of `SHARES` of the budget."""
    problem = PROBLEMS[name]
    optimizer = Optimizer(problem.space(), 1, EPOCHS, seed=seed, ranking="pareto", **options)
    trained, shares, at = 0, [], list(SHARES)
    measured: dict[int, dict[int, Score]] = {}
    true: dict[int, Losses] = {}
    while at:
        evaluation = optimizer.ask()
        assert evaluation is not None
        losses = problem.losses(evaluation.values)
        noise = stream(seed, "noise", evaluation.config_id, evaluation.to_epoch).normal(size=2)
        late = 1 / evaluation.to_epoch
        first = losses[0] + 0.4 * late * (1 + 0.3 * noise[1]) + 0.01 * noise[0]
        second = losses[1] if name == "sizes" else losses[1] + 2 * late
        score = Score((first, second))
        optimizer.tell(evaluation.id, score)
        trained += evaluation.to_epoch - evaluation.from_epoch
        measured.setdefault(evaluation.to_epoch, {})[evaluation.config_id] = score
        true[evaluation.config_id] = losses
        while at and trained >= at[0] * budget * EPOCHS:
            front = pareto_order(measured[max(measured)]).front
            worst = _scaled([problem.worst], name=name)[0]
            best = area(_scaled(problem.front, name=name), worst=worst)
            shares.append(area(_scaled([true[number] for number in front], name=name), worst=worst) / best)
            at.pop(0)
    return shares


def main() -> None:
    """Print a row per problem and searcher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--searchers", default="bohb:gain,bohb:rungs,asha,hyperband,random")
    arguments = parser.parse_args()
    click.echo("| problem | searcher | 25 % | 50 % | 100 % |\n|---|---|---|---|---|")
    for name in PROBLEMS:
        for searcher in arguments.searchers.split(","):
            kind, _, model = searcher.partition(":")
            options = {"model": model} if model else {}
            rows = [run(name, seed=seed, kind=kind, **options) for seed in range(arguments.seeds)]
            cells = [
                f"{statistics.mean(column):.3f} ± {1.96 * statistics.stdev(column) / math.sqrt(len(rows)):.3f}"
                for column in zip(*rows, strict=True)
            ]
            click.echo(f"| {name} | {searcher} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
