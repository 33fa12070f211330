"""The density model of hpbandster 0.7.4, with its faults contained.

hpbandster draws from NumPy's global generator, refuses ordinals, ignores forbidden clauses, divides by zero for
a categorical seen at one level, uses deprecated names and replaces every error by a random configuration.
"""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ConfigSpace import (
    AndConjunction,
    CategoricalHyperparameter,
    ConfigurationSpace,
    Constant,
    InCondition,
    OrdinalHyperparameter,
    UniformIntegerHyperparameter,
)
from ConfigSpace.conditions import Condition, Conjunction
from ConfigSpace.hyperparameters import Hyperparameter

from emotune.search.history import History
from emotune.search.models.base import Model, ScheduleName
from emotune.search.records import Value
from emotune.search.space import ends, legal_values

if TYPE_CHECKING:  # it imports statsmodels and pandas, which take 1 s
    from hpbandster.optimizers.config_generators.bohb import BOHB

log = logging.getLogger(__name__)

MAX_PROPOSALS = 8
"""Proposals in one decision, each the best of 64 candidates."""

Values = dict[str, Value]


class Translation:
    """A space that hpbandster accepts, and the translation of configurations in both directions.

    Choices become their index and ordered values an integer. Hyperparameters with a single value are left out, and
    so are forbidden clauses. Conditions are kept.
    """

    def __init__(self, space: ConfigurationSpace) -> None:
        self._original = space
        self._fixed = {name: ends(space[name])[0] for name in space if _is_fixed(space[name])}
        self._levels = {name: ends(space[name]) for name in space if _has_levels(space[name])}
        self.space = ConfigurationSpace()
        for name in space:
            if name in self._fixed:
                continue
            child = self._range(space[name])
            activity = self._activity(name, child=child)
            if activity is not False:
                self.space.add(child)
            if not isinstance(activity, bool):
                self.space.add(activity)

    def forward(self, values: Mapping[str, Value]) -> Values:
        """Translate a configuration of the original space for hpbandster."""
        return {name: self._level(name, value) for name, value in values.items() if name in self.space}

    def back(self, values: Mapping[str, Value]) -> Values | None:
        """Translate a configuration of hpbandster; None if it is not legal in the original space."""
        decoded = {
            name: self._levels[name][int(value)] if name in self._levels else value for name, value in values.items()
        }
        return legal_values(self._original, values={**self._fixed, **decoded})

    def _level(self, name: str, value: Value) -> Value:
        return self._levels[name].index(value) if name in self._levels else value

    def _range(self, hyperparameter: Hyperparameter) -> Hyperparameter:
        name = hyperparameter.name
        if isinstance(hyperparameter, CategoricalHyperparameter):
            return CategoricalHyperparameter(name, list(range(len(self._levels[name]))))
        if isinstance(hyperparameter, OrdinalHyperparameter):
            return UniformIntegerHyperparameter(name, lower=0, upper=len(self._levels[name]) - 1)
        return hyperparameter

    def _activity(self, name: str, *, child: Hyperparameter) -> Condition | Conjunction | bool:
        """Return the condition of a hyperparameter of the original space, for ``child``; True or False if constant."""
        conditions = self._original.parent_conditions_of[name]
        return _all_of([self._condition(condition, child=child) for condition in conditions])

    def _condition(
        self, condition: Condition | Conjunction, *, child: Hyperparameter
    ) -> Condition | Conjunction | bool:
        if isinstance(condition, Conjunction):
            parts = [self._condition(part, child=child) for part in condition.components]
            return _all_of(parts) if isinstance(condition, AndConjunction) else _any_of(parts, like=condition)
        parent = condition.parent.name
        if parent in self._fixed:
            holds = condition.satisfied_by_value({parent: self._fixed[parent]})
            return self._activity(parent, child=child) if holds else False
        if parent not in self.space:
            return False
        new_parent = self.space[parent]
        if isinstance(condition, InCondition):
            return InCondition(child, new_parent, [self._level(parent, value) for value in condition.value])
        return type(condition)(child, new_parent, self._level(parent, condition.value))


def _all_of(parts: list[Condition | Conjunction | bool]) -> Condition | Conjunction | bool:
    conditions = [part for part in parts if not isinstance(part, bool)]
    if False in [part for part in parts if isinstance(part, bool)]:
        return False
    if len(conditions) < 2:
        return conditions[0] if conditions else True
    return AndConjunction(*conditions)


def _any_of(parts: list[Condition | Conjunction | bool], *, like: Conjunction) -> Condition | Conjunction | bool:
    conditions = [part for part in parts if not isinstance(part, bool)]
    if True in [part for part in parts if isinstance(part, bool)]:
        return True
    if len(conditions) < 2:
        return conditions[0] if conditions else False
    return type(like)(*conditions)


def _is_fixed(hyperparameter: Hyperparameter) -> bool:
    return isinstance(hyperparameter, Constant) or hyperparameter.size == 1


def _has_levels(hyperparameter: Hyperparameter) -> bool:
    return isinstance(hyperparameter, CategoricalHyperparameter | OrdinalHyperparameter)


class SafeDensity:
    """A kernel density of hpbandster that is finite for a categorical with one choice in the data.

    For a choice that differs from the data, hpbandster's kernel is ``bandwidth / (choices - 1)`` with the number of
    choices in the data, which is infinite for one choice. Here that number is 2 at least; all else is the same.

    Args:
        data: The observations; choices by index.
        bandwidths: Bandwidth of each dimension.
        kinds: A letter for each dimension, ``c`` for numbers and ``u`` for choices.
    """

    def __init__(self, data: np.ndarray, *, bandwidths: np.ndarray, kinds: str) -> None:
        self.data = data
        self.bw = bandwidths
        self._is_number = np.array([kind == "c" for kind in kinds])
        self._choice_counts = np.array([max(len(np.unique(column)), 2) for column in self.data.T])

    def pdf(self, vector: Sequence[int | float]) -> float:
        """Return the density at a point."""
        point = np.asarray(vector, dtype=float)
        numbers = np.exp(-(((self.data - point) / self.bw) ** 2) / 2) / (self.bw * math.sqrt(2 * math.pi))
        choices = np.where(self.data == point, 1 - self.bw, self.bw / (self._choice_counts - 1))
        return float(np.where(self._is_number, numbers, choices).prod(axis=1).mean())


def safe_density(fitted: Any) -> SafeDensity:
    """Return a `SafeDensity` with the data and bandwidths of a fitted density of statsmodels."""
    return SafeDensity(fitted.data, bandwidths=np.asarray(fitted.bw), kinds=fitted.var_type)


class HpBandSterModel(Model):
    """The model of hpbandster at the highest rung that has enough results.

    It is fitted to the results in the order of the configuration numbers, so that it is a function of the
    history. NumPy's global generator is seeded for it and restored afterwards.

    Source:
        Falkner et al., "BOHB", ICML 2018 (arXiv:1807.01774), as implemented in hpbandster 0.7.4.
    """

    schedules: ClassVar[tuple[ScheduleName, ...]] = ("sync", "async")  # synchronous in BOHB as published
    default_random_fraction = 1 / 3

    def __init__(self, space: ConfigurationSpace, *, history: History) -> None:
        super().__init__(space, history=history)
        self._translation = Translation(space)

    def propose(self, generator: np.random.Generator) -> Iterator[Values] | None:
        """Return up to `MAX_PROPOSALS` legal configurations, or None while no rung has enough results."""
        if not len(self._translation.space):
            return None
        from hpbandster.optimizers.config_generators.bohb import BOHB  # noqa: PLC0415 (imports statsmodels: 1 s)

        with seeded(generator):
            model = BOHB(self._translation.space, random_fraction=0, logger=log)
            for rung in reversed(self._history.rungs):
                teach(model, history=self._history, rung=rung, translation=self._translation)
                if model.kde_models:
                    fitted = model.kde_models[rung]
                    model.kde_models[rung] = {side: safe_density(fitted[side]) for side in fitted}
                    return _proposals(model, translation=self._translation, generator=generator)
        return None


def teach(model: "BOHB", *, history: History, rung: int, translation: Translation) -> None:
    """Add all results of a rung to the model, and fit its densities once, after the last one.

    hpbandster uses the densities of the highest rung that has some, and drops the results of lower rungs. So adding
    rungs from the top until there are densities gives the same model as adding all results.
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


def _proposals(model: "BOHB", *, translation: Translation, generator: np.random.Generator) -> Iterator[Values]:
    for _ in range(MAX_PROPOSALS):
        with seeded(generator):
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
def seeded(generator: np.random.Generator) -> Iterator[None]:
    """Seed NumPy's global generator, restore it afterwards, and suppress hpbandster's known warnings."""
    before = np.random.get_state()  # noqa: NPY002 (hpbandster draws from it)
    np.random.seed(int(generator.integers(2**32)))  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Please use", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message="After 0.17", category=FutureWarning)
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
