"""A search space in the words that hpbandster understands."""

from collections.abc import Mapping

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

from emotune.search.records import Value
from emotune.search.space import ends, legal_values

Values = dict[str, Value]


class Translation:
    """A space without ordinals, constants and forbidden clauses, and the way there and back.

    Choices become their index, ordered values an integer, and what can have one value only is left out.
    Conditions are kept.
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
        """Translate a configuration for hpbandster."""
        return {name: self._level(name, value) for name, value in values.items() if name in self.space}

    def back(self, values: Mapping[str, Value]) -> Values | None:
        """Translate a configuration of hpbandster; None if it is not legal in the original space."""
        own = {
            name: self._levels[name][int(value)] if name in self._levels else value for name, value in values.items()
        }
        return legal_values(self._original, values={**self._fixed, **own})

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
        """Return when a hyperparameter of the original space is active, as a condition on ``child``."""
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
            return InCondition(child, new_parent, [self._level(parent, one) for one in condition.value])
        return type(condition)(child, new_parent, self._level(parent, condition.value))


def _all_of(parts: list[Condition | Conjunction | bool]) -> Condition | Conjunction | bool:
    open_parts = [part for part in parts if not isinstance(part, bool)]
    if False in [part for part in parts if isinstance(part, bool)]:
        return False
    if len(open_parts) < 2:
        return open_parts[0] if open_parts else True
    return AndConjunction(*open_parts)


def _any_of(parts: list[Condition | Conjunction | bool], *, like: Conjunction) -> Condition | Conjunction | bool:
    open_parts = [part for part in parts if not isinstance(part, bool)]
    if True in [part for part in parts if isinstance(part, bool)]:
        return True
    if len(open_parts) < 2:
        return open_parts[0] if open_parts else False
    return type(like)(*open_parts)


def _is_fixed(hyperparameter: Hyperparameter) -> bool:
    return isinstance(hyperparameter, Constant) or hyperparameter.size == 1


def _has_levels(hyperparameter: Hyperparameter) -> bool:
    return isinstance(hyperparameter, CategoricalHyperparameter | OrdinalHyperparameter)
