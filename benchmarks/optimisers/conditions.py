"""Active hyperparameters, for peers that do not support conditions."""

from collections.abc import Mapping
from typing import Any

from ConfigSpace import ConfigurationSpace
from ConfigSpace.types import NotSet


def is_active(space: ConfigurationSpace, name: str, *, values: Mapping[str, Any]) -> bool:
    """Return whether a hyperparameter is active, given the values of those before it in the space."""
    known = {other: values.get(other, NotSet) for other in space}
    return all(condition.satisfied_by_value(known) for condition in space.parent_conditions_of[name])


def active_only(space: ConfigurationSpace, *, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without those of inactive hyperparameters."""
    active: dict[str, Any] = {}
    for name in space:
        if is_active(space, name, values=active):
            active[name] = values[name]
    return active
