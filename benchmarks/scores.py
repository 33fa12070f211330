"""Tables from finished cells: means with intervals, ranks, and tests against the BOHB of peers."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.cells import POINTS, Result
from benchmarks.optimisers import OPTIMISERS

SHARES = (0.25, 0.5, 1.0)
"""Shares of the budget at which optimisers are compared."""
KEYS = ["workers", "problem", "seed"]
LEVEL = 0.05


def tidy(results: Iterable[Result]) -> pd.DataFrame:
    """Return a row per cell: its settings, its CPU seconds, and the regret at each of `SHARES`."""
    rows = [
        {
            **result.cell._asdict(),
            "seconds": result.seconds,
            **{_column(share): result.regret[round(POINTS * share) - 1] for share in SHARES},
            "curve": result.regret,
        }
        for result in results
    ]
    return pd.DataFrame(rows)


def _column(share: float) -> str:
    return f"regret at {share:.0%}"


def with_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """Add the rank among the optimisers of the same problem and seed at each share; ties get their mean rank."""
    for share in SHARES:
        table[f"rank at {share:.0%}"] = table.groupby(KEYS)[_column(share)].rank()
    return table


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the problems and seeds for which all optimisers of the same number of workers have a cell."""
    optimisers = table.groupby("workers")["optimiser"].transform("nunique")
    present = table.groupby(KEYS)["optimiser"].transform("nunique")
    return table[present == optimisers].copy()


def interval(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % confidence interval (Student's t; nan for one value)."""
    numbers = np.asarray(list(values))
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, float("nan")
    return mean, float(stats.sem(numbers) * stats.t.ppf(0.975, len(numbers) - 1))


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the optimisers over all problems: the mean over problems of each seed, then over seeds."""
    columns = [name for name in table.columns if name.startswith(("regret at", "rank at"))]
    by_seed = table.groupby(["optimiser", "seed"])[columns].mean().reset_index()
    rows = []
    for optimiser, group in by_seed.groupby("optimiser"):
        row: dict[str, object] = {"optimiser": optimiser, "seeds": len(group)}
        for name in columns:
            row[name], row[f"{name} ±"] = interval(group[name])
        rows.append(row)
    return pd.DataFrame(rows).sort_values("regret at 100%", ignore_index=True)


def by_problem(table: pd.DataFrame, *, share: float = 1.0) -> pd.DataFrame:
    """Compare the optimisers on each problem."""
    rows = []
    for (optimiser, problem), group in table.groupby(["optimiser", "problem"]):
        mean, half = interval(group[_column(share)])
        rows.append({"optimiser": optimiser, "problem": problem, "mean": mean, "±": half, "seeds": len(group)})
    return pd.DataFrame(rows)


def bohb_tests(table: pd.DataFrame) -> pd.DataFrame:
    """Test each optimiser against each peer's BOHB, paired by seed, with Wilcoxon's signed ranks.

    Returns:
        A row per optimiser, peer and problem (``all`` for all of them together): the mean difference of the
        final regret (negative: better than the peer), the two-sided p, and a verdict at the level 0.05. No
        correction is made for the number of tests.
    """
    peers = [name for name in table["optimiser"].unique() if OPTIMISERS[name].peer_bohb]
    wide = table.pivot_table(index=["problem", "seed"], columns="optimiser", values=_column(1.0))
    rows = []
    for peer in sorted(peers):
        for optimiser in wide.columns.drop(peer):
            both = (wide[optimiser] - wide[peer]).dropna()
            groups = [("all", both), *both.groupby("problem")] if len(both) else []
            rows += [
                {"optimiser": optimiser, "peer": peer, "problem": problem, **_signed_ranks(differences.to_numpy())}
                for problem, differences in groups
            ]
    return pd.DataFrame(rows)


def _signed_ranks(differences: np.ndarray) -> dict[str, object]:
    mean = float(differences.mean())
    p = 1.0 if not differences.any() else float(np.asarray(stats.wilcoxon(differences))[1])
    verdict = "equal" if p >= LEVEL else ("better" if mean < 0 else "worse")
    return {"difference": mean, "p": p, "verdict": verdict, "pairs": len(differences)}


def speed_up(table: pd.DataFrame) -> pd.DataFrame:
    """Return the share of the budget after which the mean regret is that of a peer's BOHB at the end.

    A share of 1 means at the end or not at all.
    """
    rows = []
    peers = [name for name in table["optimiser"].unique() if OPTIMISERS[name].peer_bohb]
    curves = {
        key: np.mean(np.stack(group["curve"].tolist()), axis=0)
        for key, group in table.groupby(["optimiser", "problem"])
    }
    for (optimiser, problem), curve in curves.items():
        for peer in peers:
            reached = np.flatnonzero(curve <= curves[peer, problem][-1])
            share = (reached[0] + 1) / POINTS if len(reached) else 1.0
            rows.append({"optimiser": optimiser, "peer": peer, "problem": problem, "share": share})
    return pd.DataFrame(rows)
