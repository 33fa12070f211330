"""Search spaces: reading them, writing them down, and trying their edges."""

import copy
import difflib
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    Constant,
    InCondition,
    OrdinalHyperparameter,
)
from ConfigSpace.conditions import Condition, Conjunction
from ConfigSpace.hyperparameters import Hyperparameter, NumericalHyperparameter
from ConfigSpace.read_and_write.dictionary import CONDITION_DECODERS, FORBIDDEN_DECODERS
from ConfigSpace.types import NotSet
from pydantic import TypeAdapter, ValidationError

from emotune.errors import SettingsError
from emotune.search.ranges import Hyperparameter as HyperparameterSettings
from emotune.search.records import Value

HYPERPARAMETER: TypeAdapter[HyperparameterSettings] = TypeAdapter(HyperparameterSettings)
SECTIONS = ("hyperparameters", "conditions", "forbiddens")
BOILERPLATE = ("name", "format_version", "python_module_version")
REFUSALS = (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError)
"""What ConfigSpace raises where it does not like what it is given; its own errors are ValueErrors."""
ROLES = ("child", "parent", "name", "left", "right")
KINDS = {"conditions": CONDITION_DECODERS, "forbiddens": FORBIDDEN_DECODERS}
MOST_COMBINATIONS = 10_000


def load_space(document: Mapping[str, Any]) -> ConfigurationSpace:
    """Build a space from ConfigSpace's own serialised form.

    Args:
        document: ``hyperparameters``, and if need be ``conditions`` and ``forbiddens``, each a list.

    Raises:
        SettingsError: Something in it is impossible; the message names the hyperparameter.
    """
    unknown = set(document) - {*SECTIONS, *BOILERPLATE}
    if unknown:
        raise SettingsError(
            f"space: unknown key {min(unknown)!r}; expected {', '.join(SECTIONS)}"
            f"{suggestion(min(unknown), among=SECTIONS)}"
        )
    for section in SECTIONS:
        if not isinstance(document.get(section, []), list):
            raise SettingsError(f"space: {section} must be a list of entries, each with its type")
    checked = [_checked(item) for item in document.get("hyperparameters", [])]
    if not checked:
        raise SettingsError("space: there is no hyperparameter to search; list at least one under hyperparameters")
    for item in checked:
        _decode({"hyperparameters": [item]}, blame=f"hyperparameter {item['name']!r}")
    parts: dict[str, list[Any]] = {"hyperparameters": checked}
    space = _decode(parts, blame="hyperparameters")
    for section in SECTIONS[1:]:
        for item in document.get(section, []):
            about = _check_names(item, section=section, space=space)
            parts[section] = [*parts.get(section, []), item]
            space = _decode(parts, blame=f"{section} of {', '.join(about)}")
    return space


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


def edges(space: ConfigurationSpace) -> Iterator[dict[str, Value]]:
    """Yield configurations that set each hyperparameter to each end of its range, or to each choice.

    The others have their defaults, except those that have to change to make it active. Only legal
    configurations come, each once, the default configuration first.
    """
    seen = set()
    default = values_of(space.get_default_configuration())
    settings = ((name, value) for name in space for value in ends(space[name]))
    found = (_configuration_with(space, name=name, value=value) for name, value in settings)
    for values in itertools.chain([default], found):
        key = json.dumps(values, sort_keys=True)
        if values is not None and key not in seen:
            seen.add(key)
            yield values


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
    """Tell whether a hyperparameter has choices without an order (a constant has one)."""
    return isinstance(hyperparameter, CategoricalHyperparameter | Constant)


def suggestion(word: str, *, among: Iterable[str]) -> str:
    """Return a question like ``. Did you mean 'lr'?``, or nothing if no word is like it."""
    close = difflib.get_close_matches(word, list(among), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def _checked(item: Any) -> dict[str, Any]:
    """Check one hyperparameter by its kind and return it as ConfigSpace wants it."""
    if not isinstance(item, dict):
        raise SettingsError(f"space: a hyperparameter must be a mapping with name and type, not {item!r}")
    name = item.get("name")
    if item.get("q") is not None:
        raise SettingsError(f"hyperparameter {name!r}: q: steps are not supported; use uniform_int or an ordinal")
    try:
        parsed = HYPERPARAMETER.validate_python({key: item[key] for key in item if key != "q"})
    except ValidationError as error:
        raise SettingsError(f"hyperparameter {name!r}: {_reason(error)}") from error
    return parsed.model_dump(exclude_none=True)


def _reason(error: ValidationError) -> str:
    """Say in a few words what is wrong with a hyperparameter."""
    first = error.errors()[0]
    if first["type"] == "union_tag_invalid":
        return f"type {first['ctx']['tag']!r} is not known; there are {first['ctx']['expected_tags']}"  # pyright: ignore[reportTypedDictNotRequiredAccess]
    field = next((f"{part}: " for part in first["loc"][1:] if isinstance(part, str)), "")
    if first["type"] in {"value_error", "missing", "extra_forbidden"}:
        return field + first["msg"].removeprefix("Value error, ")
    return f"{field}{first['msg']}, not {first['input']!r}"


def _check_names(item: Any, *, section: str, space: ConfigurationSpace) -> list[str]:
    """Return what hyperparameters a condition or forbidden clause speaks of; refuse unknown ones."""
    if not isinstance(item, dict):
        raise SettingsError(f"space: an entry of {section} must be a mapping with its type, not {item!r}")
    if item.get("type") not in list(KINDS[section]):
        raise SettingsError(
            f"space: {section}: type {item.get('type')!r} is not known; there are {', '.join(KINDS[section])}"
        )
    names = [item[role] for role in ROLES if role in item]
    for key in ("conditions", "clauses"):
        parts = item.get(key, [])
        if not isinstance(parts, list):
            raise SettingsError(f"space: {section}: {key} must be a list, not {parts!r}")
        names += [name for part in parts for name in _check_names(part, section=section, space=space)]
    for name in names:
        if name not in list(space):
            raise SettingsError(
                f"space: {section} speak of {name!r}, which is not a hyperparameter here"
                f"{suggestion(str(name), among=space)}"
            )
    return list(dict.fromkeys(names))


def _decode(document: dict[str, list[Any]], *, blame: str) -> ConfigurationSpace:
    """Let ConfigSpace build a space; ``blame`` says whose fault a refusal is."""
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            # ConfigSpace takes apart what it is given
            return ConfigurationSpace.from_serialized_dict(copy.deepcopy(document))
    except REFUSALS as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split()) or type(error).__name__
        raise SettingsError(f"space: {blame}: {reason}") from error


def _configuration_with(space: ConfigurationSpace, *, name: str, value: Value) -> dict[str, Value] | None:
    """Return a legal configuration with one value set and active, changing as little else as possible."""
    ancestors = _ancestors(space, name=name)
    options = [_worth_trying(space, name=ancestor) for ancestor in ancestors]
    defaults = {other: plain(space[other].default_value) for other in space}
    for combination in itertools.islice(itertools.product(*options), MOST_COMBINATIONS):
        values = {**defaults, **dict(zip(ancestors, combination, strict=True)), name: value}
        legal = legal_values(space, values=values)
        if legal is not None and name in legal:
            return legal
    return None


def _ancestors(space: ConfigurationSpace, *, name: str) -> list[str]:
    """Return all hyperparameters that decide whether this one is active."""
    found: dict[str, None] = {}
    queue = [parent.name for parent in space.parents_of[name]]
    while queue:
        parent = queue.pop()
        if parent not in found:
            found[parent] = None
            queue += [above.name for above in space.parents_of[parent]]
    return list(found)


def _worth_trying(space: ConfigurationSpace, *, name: str) -> list[Value]:
    """Return the default, the ends and the values that conditions ask of a hyperparameter."""
    asked = [
        plain(value)
        for condition in leaves(space.conditions)
        if condition.parent.name == name
        for value in (condition.value if isinstance(condition, InCondition) else [condition.value])
    ]
    return list(dict.fromkeys([plain(space[name].default_value), *asked, *ends(space[name])]))


def leaves(conditions: Iterable[Condition | Conjunction]) -> Iterator[Condition]:
    """Yield the simple conditions that conditions are made of."""
    for condition in conditions:
        if isinstance(condition, Conjunction):
            yield from leaves(condition.components)
        else:
            yield condition
