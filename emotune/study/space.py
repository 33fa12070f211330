"""The search space of a study: its form in a document, and configurations at the ends of its ranges."""

import copy
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from ConfigSpace import ConfigurationSpace, InCondition
from ConfigSpace.conditions import Condition, Conjunction
from ConfigSpace.read_and_write.dictionary import CONDITION_DECODERS, FORBIDDEN_DECODERS
from pydantic import Field, Strict, TypeAdapter, ValidationError, model_validator

from emotune.base import Settings
from emotune.errors import SettingsError, suggestion
from emotune.search.records import Value
from emotune.search.space import SECTIONS, ends, legal_values, plain, values_of

Int = Annotated[int, Strict()]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Choice = Annotated[bool, Strict()] | Int | Float | Annotated[str, Strict()]


class NamedHyperparameter(Settings):
    """Fields of every hyperparameter."""

    name: str = Field(min_length=1)
    """Dotted name of the setting that it replaces, for instance ``optim.lr``."""

    meta: dict[str, Any] | None = None
    """Ignored; ConfigSpace writes it."""


class FloatRange(NamedHyperparameter):
    """A range of real numbers, both ends included."""

    lower: Float
    upper: Float
    default_value: Float | None = None
    log: Annotated[bool, Strict()] = False
    """Whether the logarithm is distributed, instead of the value."""

    @model_validator(mode="after")
    def _check_range(self) -> "FloatRange":
        """Refuse an empty range, and a logarithmic one that is not above 0."""
        _check_bounds(self.lower, upper=self.upper, log=self.log, default=self.default_value)
        return self


class IntRange(NamedHyperparameter):
    """A range of integers, both ends included."""

    lower: Int
    upper: Int
    default_value: Int | None = None
    log: Annotated[bool, Strict()] = False
    """Whether the logarithm is distributed, instead of the value."""

    @model_validator(mode="after")
    def _check_range(self) -> "IntRange":
        """Refuse an empty range, and a logarithmic one that is not above 0."""
        _check_bounds(self.lower, upper=self.upper, log=self.log, default=self.default_value)
        return self


class UniformFloat(FloatRange):
    """A real number, uniformly distributed."""

    type: Literal["uniform_float"]


class UniformInt(IntRange):
    """An integer, uniformly distributed."""

    type: Literal["uniform_int"]


class NormalFloat(FloatRange):
    """A real number with a truncated normal distribution: a prior of the user."""

    type: Literal["normal_float"]
    mu: Float
    sigma: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _check_normal(self) -> "NormalFloat":
        """Refuse a distribution whose mean is outside the range, or that is nearly a point."""
        _check_distribution(self.mu, sigma=self.sigma, lower=self.lower, upper=self.upper)
        return self


class NormalInt(IntRange):
    """An integer with a truncated normal distribution: a prior of the user."""

    type: Literal["normal_int"]
    mu: Float
    sigma: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _check_normal(self) -> "NormalInt":
        """Refuse a distribution whose mean is outside the range, or that is nearly a point."""
        _check_distribution(self.mu, sigma=self.sigma, lower=self.lower, upper=self.upper)
        return self


class BetaFloat(FloatRange):
    """A real number with a beta distribution: a prior of the user."""

    type: Literal["beta_float"]
    alpha: Annotated[float, Field(ge=1)]
    beta: Annotated[float, Field(ge=1)]


class BetaInt(IntRange):
    """An integer with a beta distribution: a prior of the user."""

    type: Literal["beta_int"]
    alpha: Annotated[float, Field(ge=1)]
    beta: Annotated[float, Field(ge=1)]


class Categorical(NamedHyperparameter):
    """One of several values without an order."""

    type: Literal["categorical"]
    choices: list[Choice] = Field(min_length=1)
    default_value: Choice | None = None
    weights: list[Annotated[float, Field(ge=0)]] | None = None
    """Probability of each choice, up to a common factor."""

    @model_validator(mode="after")
    def _check_choices(self) -> "Categorical":
        """Refuse duplicate choices, a default that is no choice, and a wrong number of weights."""
        _check_distinct(self.choices, default=self.default_value)
        if self.weights is not None and len(self.weights) != len(self.choices):
            raise ValueError(f"{len(self.weights)} weights for {len(self.choices)} choices")
        return self


class Ordinal(NamedHyperparameter):
    """One of several values in an order."""

    type: Literal["ordinal"]
    sequence: list[Choice] = Field(min_length=1)
    default_value: Choice | None = None

    @model_validator(mode="after")
    def _check_sequence(self) -> "Ordinal":
        """Refuse duplicate values, and a default that is none of them."""
        _check_distinct(self.sequence, default=self.default_value)
        return self


class Fixed(NamedHyperparameter):
    """A constant."""

    type: Literal["constant"]
    value: Choice


Hyperparameter = Annotated[
    UniformFloat | UniformInt | NormalFloat | NormalInt | BetaFloat | BetaInt | Categorical | Ordinal | Fixed,
    Field(discriminator="type"),
]

HYPERPARAMETER: TypeAdapter[Hyperparameter] = TypeAdapter(Hyperparameter)
BOILERPLATE = ("name", "format_version", "python_module_version")
CONFIGSPACE_ERRORS = (ValueError, TypeError, KeyError, AttributeError, IndexError, ArithmeticError)
"""Exceptions of ConfigSpace for input that it refuses; its own errors are ValueErrors."""
NAME_KEYS = ("child", "parent", "name", "left", "right")
DECODERS = {"conditions": CONDITION_DECODERS, "forbiddens": FORBIDDEN_DECODERS}
MAX_COMBINATIONS = 10_000
"""Combinations of parents that are tried to make a hyperparameter active."""


def load_space(document: Mapping[str, Any], *, recorded: bool = False) -> ConfigurationSpace:
    """Build a space from ConfigSpace's serialised form.

    Args:
        document: Lists under ``hyperparameters``, ``conditions`` (optional) and ``forbiddens`` (optional).
        recorded: The space is that of a search with results: logarithmic normal distributions, which are refused
            in a new search, are accepted.

    Raises:
        SettingsError: An entry is impossible; the message names the hyperparameter.
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
    checked = [_checked(item, recorded=recorded) for item in document.get("hyperparameters", [])]
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


def edges(space: ConfigurationSpace) -> Iterator[dict[str, Value]]:
    """Yield configurations that set each hyperparameter to each end of its range, or to each choice.

    All other hyperparameters have their defaults, except those that must differ for it to be active. Each
    configuration is legal and is yielded once, the default configuration first.
    """
    seen = set()
    default = values_of(space.get_default_configuration())
    assignments = ((name, value) for name in space for value in ends(space[name]))
    at_edges = (_configuration_with(space, name=name, value=value) for name, value in assignments)
    for values in itertools.chain([default], at_edges):
        key = json.dumps(values, sort_keys=True)
        if values is not None and key not in seen:
            seen.add(key)
            yield values


def _checked(item: Any, *, recorded: bool) -> dict[str, Any]:
    """Check one hyperparameter and return it in ConfigSpace's form; see `load_space` for ``recorded``."""
    if not isinstance(item, dict):
        raise SettingsError(f"space: a hyperparameter must be a mapping with name and type, not {item!r}")
    name = item.get("name")
    if item.get("q") is not None:
        raise SettingsError(f"hyperparameter {name!r}: q: steps are not supported; use uniform_int or an ordinal")
    try:
        parsed = HYPERPARAMETER.validate_python({key: item[key] for key in item if key != "q"})
    except ValidationError as error:
        raise SettingsError(f"hyperparameter {name!r}: {_reason(error)}") from error
    if not recorded:
        _check_logarithm(parsed)
    return parsed.model_dump(exclude_none=True)


def _check_logarithm(item: Hyperparameter) -> None:
    """Refuse a normal distribution on a logarithmic range.

    ConfigSpace takes ``|log(lower + sigma)|`` for its width on that scale: with ``sigma: 1`` nearly a point, and with
    ``sigma: 0.001`` nearly uniform.
    """
    if isinstance(item, NormalFloat | NormalInt) and item.log:
        kind = item.type.removeprefix("normal_")
        raise SettingsError(
            f"hyperparameter {item.name!r}: {item.type} was given with log: true, for which sigma has no defined "
            f"scale; use beta_{kind} with log: true, or uniform_{kind} with log: true and a default_value, near which "
            "the searcher tries more configurations at first"
        )


def _reason(error: ValidationError) -> str:
    """Return the reason for a refusal, without the name of the hyperparameter."""
    first = error.errors()[0]
    if first["type"] == "union_tag_invalid":
        return f"type {first['ctx']['tag']!r} is not known; there are {first['ctx']['expected_tags']}"  # pyright: ignore[reportTypedDictNotRequiredAccess]
    field = next((f"{part}: " for part in first["loc"][1:] if isinstance(part, str)), "")
    if first["type"] in {"value_error", "missing", "extra_forbidden"}:
        return field + first["msg"].removeprefix("Value error, ")
    return f"{field}{first['msg']}, not {first['input']!r}"


def _check_names(item: Any, *, section: str, space: ConfigurationSpace) -> list[str]:
    """Return the names in a condition or forbidden clause; refuse unknown ones."""
    if not isinstance(item, dict):
        raise SettingsError(f"space: an entry of {section} must be a mapping with its type, not {item!r}")
    if item.get("type") not in list(DECODERS[section]):
        raise SettingsError(
            f"space: {section}: type {item.get('type')!r} is not known; there are {', '.join(DECODERS[section])}"
        )
    names = [item[role] for role in NAME_KEYS if role in item]
    for key in ("conditions", "clauses"):
        parts = item.get(key, [])
        if not isinstance(parts, list):
            raise SettingsError(f"space: {section}: {key} must be a list, not {parts!r}")
        names += [name for part in parts for name in _check_names(part, section=section, space=space)]
    for name in names:
        if name not in list(space):
            raise SettingsError(
                f"space: {section} name {name!r}, which is not a hyperparameter of this space"
                f"{suggestion(str(name), among=space)}"
            )
    return list(dict.fromkeys(names))


def _decode(document: dict[str, list[Any]], *, blame: str) -> ConfigurationSpace:
    """Build a space with ConfigSpace; ``blame`` names the entry in the error message."""
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            # ConfigSpace modifies its argument
            return ConfigurationSpace.from_serialized_dict(copy.deepcopy(document))
    except CONFIGSPACE_ERRORS as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split()) or type(error).__name__
        raise SettingsError(f"space: {blame}: {reason}") from error


def _configuration_with(space: ConfigurationSpace, *, name: str, value: Value) -> dict[str, Value] | None:
    """Return a legal configuration in which one hyperparameter is active with a value, close to the default."""
    ancestors = _ancestors(space, name=name)
    options = [_candidate_values(space, name=ancestor) for ancestor in ancestors]
    defaults = {other: plain(space[other].default_value) for other in space}
    for combination in itertools.islice(itertools.product(*options), MAX_COMBINATIONS):
        values = {**defaults, **dict(zip(ancestors, combination, strict=True)), name: value}
        legal = legal_values(space, values=values)
        if legal is not None and name in legal:
            return legal
    return None


def _ancestors(space: ConfigurationSpace, *, name: str) -> list[str]:
    """Return all hyperparameters on which the activity of this one depends."""
    ancestors: dict[str, None] = {}
    queue = [parent.name for parent in space.parents_of[name]]
    while queue:
        parent = queue.pop()
        if parent not in ancestors:
            ancestors[parent] = None
            queue += [above.name for above in space.parents_of[parent]]
    return list(ancestors)


def _candidate_values(space: ConfigurationSpace, *, name: str) -> list[Value]:
    """Return the default, the values in conditions, and the ends of a hyperparameter."""
    in_conditions = [
        plain(value)
        for condition in leaves(space.conditions)
        if condition.parent.name == name
        for value in (condition.value if isinstance(condition, InCondition) else [condition.value])
    ]
    return list(dict.fromkeys([plain(space[name].default_value), *in_conditions, *ends(space[name])]))


def leaves(conditions: Iterable[Condition | Conjunction]) -> Iterator[Condition]:
    """Yield the simple conditions in nested conjunctions."""
    for condition in conditions:
        if isinstance(condition, Conjunction):
            yield from leaves(condition.components)
        else:
            yield condition


def _check_bounds(lower: int | float, *, upper: int | float, log: bool, default: int | float | None) -> None:
    """Check that ``lower < upper``, that ``lower > 0`` if logarithmic, and that the default is in the range.

    Raises:
        ValueError: One of these does not hold.
    """
    if lower >= upper:
        raise ValueError(f"the lower end {lower} must be below the upper end {upper}")
    if log and lower <= 0:
        raise ValueError(f"a logarithmic range must begin above 0, not at {lower}")
    if default is not None and not lower <= default <= upper:
        raise ValueError(f"the default {default} is outside {lower} to {upper}")


def _check_distribution(mu: float, *, sigma: float, lower: int | float, upper: int | float) -> None:
    """Check that ``lower <= mu <= upper``, and that ``sigma`` is at least a thousandth of the range.

    Raises:
        ValueError: One of these does not hold.
    """
    if not lower <= mu <= upper:
        raise ValueError(f"mu {mu} is outside {lower} to {upper}")
    if sigma < 1e-3 * (upper - lower):
        raise ValueError(f"sigma {sigma} must be at least a thousandth of the range {lower} to {upper}")


def _check_distinct(values: list[Any], *, default: Any) -> None:
    """Check that all values differ, and that the default is one of them.

    Raises:
        ValueError: One of these does not hold.
    """
    if len(set(values)) < len(values):
        raise ValueError(f"the values {values} are not all different")
    if default is not None and default not in values:
        raise ValueError(f"the default {default!r} is none of {values}")
