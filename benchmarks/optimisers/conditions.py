"""Which hyperparameters are active, for peers that know no conditions."""

from collections.abc import Mapping
from typing import Any

from ConfigSpace import ConfigurationSpace
from ConfigSpace.types import NotSet


def is_active(space: ConfigurationSpace, name: str, *, values: Mapping[str, Any]) -> bool:
    """Tell whether a hyperparameter is active, given the values of those before it in the space."""
    known = {other: values.get(other, NotSet) for other in space}
    return all(condition.satisfied_by_value(known) for condition in space.parent_conditions_of[name])


def active_only(space: ConfigurationSpace, *, values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out inactive values."""
    active: dict[str, Any] = {}
    for name in space:
        if is_active(space, name, values=active):
            active[name] = values[name]
    return active
