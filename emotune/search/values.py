"""Whether a configuration that comes from elsewhere fits into a search space."""

from collections.abc import Mapping

from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import Hyperparameter, IntegerHyperparameter, NumericalHyperparameter
from ConfigSpace.types import NotSet

from emotune.errors import DamageError, SettingsError, suggestion
from emotune.search.records import Evaluation, Value
from emotune.search.settings import SearchSettings
from emotune.search.space import ends, legal_values


def fitted(space: ConfigurationSpace, *, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return a configuration as the space would have it: right types, and only the active values.

    Raises:
        SettingsError: A name is not searched, a value is impossible or missing, or all together are forbidden;
            the message names the hyperparameter, the value and what it may be.
    """
    for name in values:
        if name not in space:
            raise SettingsError(f"{name!r} is not in the space{suggestion(name, among=space)}")
    active: dict[str, Value] = {}
    # a space names parents before their children
    for name in space:
        if _is_active(space, name=name, values=active):
            active[name] = _fitted_value(space[name], values=values)
    legal = legal_values(space, values=active)
    if legal is None:
        raise SettingsError(
            f"the space forbids the combination {', '.join(f'{name} = {value!r}' for name, value in active.items())}"
        )
    return legal


def fitted_settings(settings: SearchSettings, *, space: ConfigurationSpace) -> SearchSettings:
    """Return settings whose earlier configurations are as the space would have them.

    Raises:
        SettingsError: One of them does not fit.
    """
    try:
        earlier = tuple(fitted(space, values=values) for values in settings.earlier)
    except SettingsError as error:
        raise SettingsError(f"earlier: {error}") from error
    return settings.model_copy(update={"earlier": earlier})


def check_recorded(evaluation: Evaluation, *, space: ConfigurationSpace) -> None:
    """Refuse a recorded configuration that is not one of the space.

    Raises:
        DamageError: It is none.
    """
    try:
        fits = fitted(space, values=evaluation.values) == evaluation.values
    except SettingsError as error:
        raise DamageError(f"evaluation {evaluation.id} of the record: {error}; was the record changed?") from error
    if not fits:
        raise DamageError(
            f"evaluation {evaluation.id} of the record has values that are not active; was the record changed?"
        )


def _is_active(space: ConfigurationSpace, *, name: str, values: Mapping[str, Value]) -> bool:
    conditions = space.parent_conditions_of[name]
    if not conditions:
        return True
    known = {other: values.get(other, NotSet) for other in space}
    return all(condition.satisfied_by_value(known) for condition in conditions)


def _fitted_value(hyperparameter: Hyperparameter, *, values: Mapping[str, Value]) -> Value:
    name = hyperparameter.name
    if name not in values:
        raise SettingsError(f"no value of {name} was given, expected one in {_range(hyperparameter)}")
    value = _typed(hyperparameter, values[name])
    if not _is_in(hyperparameter, value):
        raise SettingsError(f"{name} = {value!r} is outside the space, expected a value in {_range(hyperparameter)}")
    return value


def _typed(hyperparameter: Hyperparameter, value: Value) -> Value:
    """Return a value in the type of its hyperparameter where it stays the same value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(hyperparameter, IntegerHyperparameter):
        return int(value) if value == value // 1 else value
    if isinstance(hyperparameter, NumericalHyperparameter):
        return float(value)
    return next((level for level in ends(hyperparameter) if level == value and not isinstance(level, bool)), value)


def _is_in(hyperparameter: Hyperparameter, value: Value) -> bool:
    if isinstance(hyperparameter, NumericalHyperparameter):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and bool(hyperparameter.legal_value(value))
    return any(type(level) is type(value) and level == value for level in ends(hyperparameter))


def _range(hyperparameter: Hyperparameter) -> str:
    among = ends(hyperparameter)
    if isinstance(hyperparameter, NumericalHyperparameter):
        return f"{among[0]} to {among[1]}"
    return " or ".join(map(repr, among))
