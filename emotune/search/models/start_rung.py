"""On which rung a new configuration begins: low ones are cheap, high ones tell the truth."""

import math
from collections.abc import Mapping

import numpy as np

from emotune.search.history import History

HORIZON_SHARE = 0.2
"""Rungs are compared by what so much of the epochs spent so far would find."""
HORIZON = (1.0, 8.0)
"""But at least and at most by so many full evaluations."""
INDIFFERENCE = 0.1
"""Differences in what is expected that matter little."""
COUNTS = (1, 2, 3, 4, 6, 9, 12, 18, 27, 36, 54, 81, 200)
BEST_OF = (0.0, 0.56, 0.85, 1.03, 1.27, 1.49, 1.63, 1.82, 2.0, 2.12, 2.3, 2.43, 2.75)
"""Expected maximum of so many standard normal numbers."""


def start_shares(history: History, trust: Mapping[int, float], *, ladder: tuple[int, ...], eta: int) -> np.ndarray:
    """Return the probability of each rung that a new configuration begins there.

    With the same number of epochs, more configurations can begin on a low rung, and the best of many is
    better; but only as far as the low rung's order is that of the highest. So a rung is worth its trust
    times the expected best of those that the horizon pays for, and gets its share of the epochs accordingly.

    Args:
        history: What has been trained so far.
        trust: Correlation of each rung with the highest.
        ladder: Epochs of the rungs.
        eta: One in ``eta`` goes on.

    Source:
        Choosing brackets by how well their rungs predict is Li et al., "Hyper-Tune", VLDB 2022
        (arXiv:2201.06834), section 4.2; value and horizon are ours.
    """
    costs = np.array([epochs_per_start(rung, ladder=ladder, eta=eta) for rung in range(len(ladder))])
    spent = epochs_spent(history, ladder=ladder) / ladder[-1]
    horizon = min(max(HORIZON_SHARE * spent, HORIZON[0]), HORIZON[1])
    best = np.interp(np.log(horizon * ladder[-1] / costs), np.log(COUNTS), BEST_OF)
    values = np.array([trust[rung] for rung in range(len(ladder))]) * best
    shares = np.exp((values - values.max()) / INDIFFERENCE) / costs
    return shares / shares.sum()


def epochs_per_start(rung: int, *, ladder: tuple[int, ...], eta: int) -> float:
    """Return the epochs that a configuration costs which begins on a rung, with its share of the promotions."""
    steps = enumerate(zip(ladder[rung:], ladder[rung + 1 :], strict=False), start=1)
    return ladder[rung] + math.fsum((high - low) / eta**step for step, (low, high) in steps)


def epochs_spent(history: History, *, ladder: tuple[int, ...]) -> int:
    """Return the epochs of all results."""
    spent, below = 0, set()
    for rung in history.rungs:
        here = {number for number, _ in history.results(rung)}
        spent += len(here) * ladder[rung] - len(here & below) * (ladder[rung - 1] if rung else 0)
        below = here
    return spent
