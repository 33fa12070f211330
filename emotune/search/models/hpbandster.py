"""The density model of hpbandster 0.7.4, with a fence around its faults.

It draws from NumPy's global generator, refuses ordinals, knows no forbidden clauses, divides by zero for
a categorical seen at one level, uses deprecated names and hides every error behind a random configuration.
"""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from hpbandster.optimizers.config_generators.bohb import BOHB

from emotune.search.history import History
from emotune.search.models.translation import Translation, Values

log = logging.getLogger(__name__)

TRIES = 8
"""Proposals asked for in one decision, each the best of 64 candidates."""


class SafeDensity:
    """A density of hpbandster, also for choices of which only one has been seen.

    The original divides by the number of choices seen less one, so that an unseen choice has an infinite
    density and is proposed at once. Here at least two choices count as seen; the rest is the same formula.

    Args:
        data: The observations; choices by index.
        bandwidths: Bandwidth of each dimension.
        kinds: A letter for each dimension, ``c`` for numbers and ``u`` for choices.
    """

    def __init__(self, data: np.ndarray, *, bandwidths: np.ndarray, kinds: str) -> None:
        self.data = data
        self.bw = bandwidths
        self._is_number = np.array([kind == "c" for kind in kinds])
        self._seen = np.array([max(len(np.unique(column)), 2) for column in self.data.T])

    def pdf(self, vector: Sequence[int | float]) -> float:
        """Return the density at a point."""
        place = np.asarray(vector, dtype=float)
        numbers = np.exp(-(((self.data - place) / self.bw) ** 2) / 2) / (self.bw * math.sqrt(2 * math.pi))
        choices = np.where(self.data == place, 1 - self.bw, self.bw / (self._seen - 1))
        return float(np.where(self._is_number, numbers, choices).prod(axis=1).mean())


def safe_density(fitted: Any) -> SafeDensity:
    """Take over a density of statsmodels that hpbandster has fitted."""
    return SafeDensity(fitted.data, bandwidths=np.asarray(fitted.bw), kinds=fitted.var_type)


class HpBandSterModel:
    """The model of hpbandster at the highest rung that has enough results.

    It is built afresh, from the results in the order of the configurations' numbers, so that it is a function
    of the history. NumPy's global generator is seeded for it and put back afterwards.

    Args:
        space: Where to look.
        history: All that may be known.

    Source:
        Falkner et al., "BOHB", ICML 2018 (arXiv:1807.01774), as implemented in hpbandster 0.7.4.
    """

    def __init__(self, space: ConfigurationSpace, *, history: History) -> None:
        self._translation = Translation(space)
        self._history = history

    def propose(self, generator: np.random.Generator) -> Iterator[Values] | None:
        """Return up to `TRIES` legal configurations, or None while no rung has enough results."""
        if not len(self._translation.space):
            return None
        with fenced(generator):
            model = BOHB(self._translation.space, random_fraction=0, logger=log)
            for rung in reversed(self._history.rungs):
                teach(model, history=self._history, rung=rung, translation=self._translation)
                if model.kde_models:
                    fitted = model.kde_models[rung]
                    model.kde_models[rung] = {side: safe_density(fitted[side]) for side in fitted}
                    return _proposals(model, translation=self._translation, generator=generator)
        return None


def teach(model: BOHB, *, history: History, rung: int, translation: Translation) -> None:
    """Tell the model all results of a rung and let it fit its densities once, after the last.

    hpbandster uses the densities of the highest rung that has them and drops results of lower ones, so
    that teaching from the top until there are densities gives the model that teaching everything would.
    """
    results = history.results(rung)
    for number, (config_id, loss) in enumerate(results, start=1):
        job = SimpleNamespace(
            id=config_id,
            exception=None,
            result={"loss": loss if math.isfinite(loss) else math.inf},
            kwargs={"budget": rung, "config": translation.forward(history.configurations[config_id])},
        )
        model.new_result(job, update_model=number == len(results))


def _proposals(model: BOHB, *, translation: Translation, generator: np.random.Generator) -> Iterator[Values]:
    for _ in range(TRIES):
        with fenced(generator):
            proposal, about = model.get_config(0)
        if not about.get("model_based_pick"):
            continue
        values = translation.back({name: _plain(value) for name, value in proposal.items()})
        if values is not None:
            yield values


def _plain(value: object) -> int | float:
    """Return a number of NumPy as one of Python; the translated space holds numbers only."""
    return value.item() if isinstance(value, np.generic) else value  # pyright: ignore[reportReturnType]


@contextlib.contextmanager
def fenced(generator: np.random.Generator) -> Iterator[None]:
    """Lend NumPy's global generator, seeded from ours, and silence the warnings that are known."""
    before = np.random.get_state()  # noqa: NPY002 (hpbandster draws from it)
    np.random.seed(int(generator.integers(2**32)))  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Please use", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message="After 0.17", category=FutureWarning)
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
