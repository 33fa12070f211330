"""Pure functions on ConfigSpace's search spaces and configurations."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, Configuration, ConfigurationSpace, Constant, OrdinalHyperparameter
from ConfigSpace.hyperparameters import Hyperparameter, NumericalHyperparameter
from ConfigSpace.types import NotSet

from emotune.search.records import Value

SECTIONS = ("hyperparameters", "conditions", "forbiddens")
"""Keys of a space in ConfigSpace's serialised form."""


def space_as_document(space: ConfigurationSpace) -> dict[str, Any]:
    """Return a space in ConfigSpace's serialised form: plain JSON, equal for equal spaces.

    Names, versions and the order of conditions do not show, so that a digest of it stays the same.
    """
    document = json.loads(json.dumps(space.to_serialized_dict(), default=plain))
    for section in SECTIONS[1:]:
        document[section].sort(key=lambda item: json.dumps(item, sort_keys=True))
    return {section: document[section] for section in SECTIONS}


def space_digest(space: ConfigurationSpace) -> str:
    """Return a hash that is equal for equal spaces."""
    return hashlib.sha256(json.dumps(space_as_document(space), sort_keys=True).encode()).hexdigest()


def copy_of(space: ConfigurationSpace) -> ConfigurationSpace:
    """Return an independent copy, equal for equal spaces, whose random state is its own."""
    return ConfigurationSpace.from_serialized_dict(space_as_document(space))


def plain(value: Any) -> Any:
    """Return a value of NumPy as one of Python, and an array as a list."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def values_of(configuration: Configuration) -> dict[str, Value]:
    """Return a configuration's values in plain Python types, without the inactive ones."""
    return {name: plain(value) for name, value in configuration.items()}


def legal_values(space: ConfigurationSpace, *, values: Mapping[str, Value]) -> dict[str, Value] | None:
    """Leave out the inactive values; None if what remains is not legal in the space."""
    try:
        return values_of(Configuration(space, values=active_values(space, values=values)))
    except ValueError:
        return None


def active_values(space: ConfigurationSpace, *, values: Mapping[str, Value]) -> dict[str, Value]:
    """Leave out the values of hyperparameters that are inactive given the others."""
    active: dict[str, Any] = {name: values.get(name, NotSet) for name in space}
    # a space names parents before their children
    for name in space.conditional_hyperparameters:
        if not all(condition.satisfied_by_value(active) for condition in space.parent_conditions_of[name]):
            active[name] = NotSet
    return {name: value for name, value in active.items() if value is not NotSet}


def ends(hyperparameter: Hyperparameter) -> list[Value]:
    """Return both ends of a range, or all choices."""
    match hyperparameter:
        case CategoricalHyperparameter():
            return [plain(choice) for choice in hyperparameter.choices]
        case OrdinalHyperparameter():
            return [plain(choice) for choice in hyperparameter.sequence]
        case Constant():
            return [plain(hyperparameter.value)]
        case NumericalHyperparameter():
            return [plain(hyperparameter.lower), plain(hyperparameter.upper)]
    raise AssertionError(f"unknown kind of hyperparameter: {hyperparameter}")


def is_unordered(hyperparameter: Hyperparameter) -> bool:
    """Return whether a hyperparameter has choices without an order (a constant has one choice)."""
    return isinstance(hyperparameter, CategoricalHyperparameter | Constant)
