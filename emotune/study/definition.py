"""What every search is defined by: objective, budget, searcher, seed and space; and what a study adds to it.

There are two kinds of studies: `emotune.study.study.Study` trains experiments of this package, and
`emotune.study.trainable_study.TrainableStudy` trains a trainable of the user. This module imports neither.
"""

import dataclasses
import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ConfigSpace import ConfigurationSpace
from pydantic import Field, JsonValue, ValidationError, model_validator

from emotune.base import Settings
from emotune.documents import Document
from emotune.documents.text import KeyPath
from emotune.errors import SettingsError
from emotune.search.criteria import Constraint, Criteria, StudyObjective
from emotune.search.records import Value
from emotune.search.schedule import rungs
from emotune.search.settings import SearchSettings, search_settings, with_model, with_order
from emotune.search.space import space_as_document
from emotune.search.values import fitted
from emotune.study.recorded import complete_study
from emotune.study.space import load_space

ELSEWHERE = {
    "min_budget": "budget.min",
    "max_budget": "budget.max",
    "eta": "budget.eta",
    "brackets": "budget.brackets",
    "evaluations": "budget.evaluations",
    "seed": "seed, beside the searcher",
    "earlier": "earlier, beside the searcher",
    "concurrency": "--concurrency",
    "ranking": "objective, with a list of several objectives, or constraints",
}
"""Settings that are no options of the searcher, and the part of a study that has them."""


class Budget(Settings):
    """How long configurations are trained, and when the search ends."""

    min: int = Field(ge=1)
    """Epochs of the first rung."""

    max: int = Field(ge=1)
    """Epochs of the last rung."""

    eta: int = Field(default=3, ge=2)
    """Factor between rungs; about one in ``eta`` configurations is promoted."""

    brackets: int | None = Field(default=None, ge=1)
    """Brackets to run; if neither this nor ``evaluations`` is given, each bracket of HyperBand once."""

    evaluations: int | None = Field(default=None, ge=1)
    """Evaluations to run."""

    def __init__(self, *ends: int, **settings: Any) -> None:
        """Create a budget, such as ``Budget(1, 27, eta=3)``; ``min`` and ``max`` can be given by position.

        Raises:
            SettingsError: A number given by position is impossible, or another setting beside it.
        """
        if len(ends) > 2:
            raise SettingsError(f"Budget{ends} was given; expected Budget(min, max, eta=3)")
        try:
            super().__init__(**dict(zip(("min", "max"), ends, strict=False)), **settings)
        except ValidationError as error:
            if not ends:
                raise
            problems = (f"{'.'.join(map(str, entry['loc']))} {entry['msg']}".strip() for entry in error.errors())
            given = ", ".join([*map(repr, ends), *(f"{name}={value!r}" for name, value in settings.items())])
            raise SettingsError(f"Budget({given}): {'; '.join(problems)}") from error

    @model_validator(mode="after")
    def _check_order(self) -> "Budget":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}; swap them")
        return self

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which configurations are compared."""
        return rungs(self.min, self.max, self.eta)

    @property
    def bracket_limit(self) -> int | None:
        """Brackets to run, with the default filled in."""
        return len(self.rungs) if self.brackets is None and self.evaluations is None else self.brackets

    @property
    def limits(self) -> dict[str, int | None]:
        """When the search ends, by name, with the default filled in."""
        return {"brackets": self.bracket_limit, "evaluations": self.evaluations}

    @property
    def optimizer_settings(self) -> dict[str, int | None]:
        """The keyword arguments of `emotune.search.Optimizer` that state the budget."""
        return {"min_budget": self.min, "max_budget": self.max, "eta": self.eta, **self.limits}


@dataclass(frozen=True)
class ChangedDefault:
    """A setting that a study leaves out, and whose default has changed since its search was started."""

    setting: str
    recorded: Any
    default: Any


Self = TypeVar("Self", bound="SearchDefinition")


class SearchDefinition(Settings):
    """What every search is defined by. Subclasses add what is trained."""

    objective: StudyObjective
    """The metric that is optimised, or the first of several."""

    other_objectives: tuple[StudyObjective, ...] = ()
    """The further metrics that are optimised, in a study file the other entries of the list ``objective``."""

    constraints: dict[str, Constraint] = Field(default={})
    """Allowed ranges by metric, for example ``{parameters: {max: 3e6}}``."""

    budget: Budget
    """How long configurations are trained, and when the search ends."""

    searcher: dict[str, JsonValue] = Field(default={"kind": "bohb"})
    """The searcher's ``kind`` and its options."""

    seed: int = Field(default=0, ge=0)
    """Seed of the proposed configurations."""

    space: dict[str, Any]
    """The search space in ConfigSpace's format."""

    earlier: tuple[dict[str, Value], ...] = ()
    """Configurations known to be good, the best first: values by dotted name, as in the space."""

    @classmethod
    @abstractmethod
    def recorded(cls: type[Self], document: Mapping[str, Any]) -> Self:
        """Return the study of a journal, with the meaning that it had when it was recorded.

        Raises:
            SettingsError: The journal's study is of another kind.
        """

    @abstractmethod
    def cost(self, values: Mapping[str, Any]) -> float:
        """Return the virtual seconds of an epoch of a configuration; only ratios count."""

    @property
    def criteria(self) -> Criteria:
        """What configurations are compared by: the objectives and constraints."""
        return Criteria((self.objective, *self.other_objectives), self.constraints)

    def admits(self, values: Mapping[str, Any]) -> bool:
        """Return whether a configuration meets the constraints that are known before it is trained."""
        del values
        return True

    @abstractmethod
    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the results."""

    def with_recorded_defaults(self: Self, document: Mapping[str, Any]) -> tuple[Self, list[ChangedDefault]]:
        """Return the study with defaults of a recorded one where newer versions have changed them, and those."""
        before = complete_study(document)["searcher"]
        order = {"order": before["order"]} if "order" in before else {}
        study = self.model_copy(update={"searcher": {**order, **self.searcher}})
        given = with_model(study.searcher)
        is_default = "model" in given and "model" not in study.searcher and given["kind"] == before.get("kind", "bohb")
        if not is_default or before["model"] == given["model"]:
            return study, []
        change = ChangedDefault("searcher.model", recorded=before["model"], default=given["model"])
        return study.model_copy(update={"searcher": {**study.searcher, "model": before["model"]}}), [change]

    def with_order(self: Self, concurrency: int) -> Self:
        """Return the study with the order of a new search of several evaluations at a time, if it has none."""
        return self.model_copy(update={"searcher": with_order(self.searcher, concurrency=concurrency)})

    def configuration_space(self) -> ConfigurationSpace:
        """Return the space as ConfigSpace's object; the empty one for a single run, where nothing is searched."""
        return load_space(self.space, recorded=True) if self.space["hyperparameters"] else ConfigurationSpace()

    def search_settings(self) -> SearchSettings:
        """Return the settings of the searcher, defaults filled in.

        Raises:
            SettingsError: There is no such searcher or option.
        """
        options = {name: value for name, value in self.searcher.items() if name != "kind"}
        for name in options:
            if name in ELSEWHERE:
                raise SettingsError(f"searcher.{name} has no effect; give {ELSEWHERE[name]}")
        options |= {"earlier": self.earlier, "ranking": self.criteria.ranking}
        return search_settings(str(self.searcher.get("kind", "bohb")), options)

    def as_document(self) -> dict[str, Any]:
        """Return the whole study, defaults included, as plain JSON that reads back as the same study."""
        unused = {name for name in ("other_objectives", "constraints") if not getattr(self, name)}
        content = self.model_dump(mode="json", exclude={"space", *unused})
        content["searcher"] = with_model(self.searcher)
        return content | {"space": space_as_document(self.configuration_space())}

    def digest(self) -> str:
        """Hash everything that decides the results."""
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()[:16]


def with_first_objective(document: Document) -> Document:
    """Return the document of a study whose list ``objective`` is divided into ``objective`` and ``other_objectives``.

    Raises:
        SettingsError: The list is empty, or ``other_objectives`` is given.
    """
    entries = document.content.get("objective")
    if "other_objectives" in document.content:
        raise SettingsError(
            f"{document.where(('other_objectives',))}: other_objectives was given; list all objectives in objective"
        )
    if not isinstance(entries, list):
        return document
    if not entries:
        raise SettingsError(
            f"{document.where(('objective',))}: objective: an empty list was given, expected "
            "{metric: val/loss, mode: min} or a list of these"
        )
    first, *others = entries
    content = document.content | {"objective": first} | ({"other_objectives": others} if others else {})
    return dataclasses.replace(document, content=content, positions=_divided(document.positions))


def metric_paths(study: SearchDefinition) -> Iterator[tuple[str, KeyPath]]:
    """Yield the metric of each objective and constraint, with its path in the document of the study."""
    yield study.objective.metric, ("objective", "metric")
    for number, objective in enumerate(study.other_objectives):
        yield objective.metric, ("other_objectives", number, "metric")
    for name in study.constraints:
        yield name, ("constraints", name)


def _divided(positions: Mapping[KeyPath, str]) -> dict[KeyPath, str]:
    """Return the positions of a list ``objective`` at the paths of its parts."""
    moved: dict[KeyPath, str] = {}
    for path, position in positions.items():
        match path:
            case ("objective", 0, *rest):
                moved["objective", *rest] = position
            case ("objective", int(number), *rest):
                moved["other_objectives", number - 1, *rest] = position
            case _:
                moved[path] = position
    return moved


AnyStudy = TypeVar("AnyStudy", bound=SearchDefinition)
"""A study of either kind."""


def check_searcher(study: SearchDefinition, document: Document) -> None:
    """Refuse a searcher that does not exist, or options that it does not have.

    Raises:
        SettingsError: Naming file and line.
    """
    try:
        study.search_settings()
    except SettingsError as error:
        raise SettingsError(f"{document.where(('searcher',))}: {error}") from error


def check_criteria(study: SearchDefinition, document: Document) -> None:
    """Refuse objectives that are given twice, and metrics with the name of a hyperparameter.

    Raises:
        SettingsError: Naming file and line.
    """
    seen: set[str] = set()
    names = {str(entry.get("name")) for entry in study.space.get("hyperparameters", []) if isinstance(entry, dict)}
    for metric, path in metric_paths(study):
        if study.criteria.has_scores and metric in names:
            raise SettingsError(
                f"{document.where(path)}: {metric} is a metric and a hyperparameter; rename one of them"
            )
        if path[0] != "constraints" and metric in seen:
            raise SettingsError(f"{document.where(path)}: objective: {metric} is given twice; remove one of them")
        seen.add(metric)


def check_earlier(study: SearchDefinition, document: Document) -> None:
    """Refuse earlier configurations that are not in the space.

    Raises:
        SettingsError: Naming file and line.
    """
    space = study.configuration_space()
    for number, values in enumerate(study.earlier):
        try:
            fitted(space, values=values)
        except SettingsError as error:
            raise SettingsError(f"{document.where(('earlier', number))}: {error}") from error


def differences(old: dict[str, Any], new: dict[str, Any], *, prefix: str = "") -> list[str]:
    """Return the settings in which two documents differ, each with both values."""
    changes = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changes += differences(before, after, prefix=f"{prefix}{key}.")
        elif before != after:
            changes.append(f"{prefix}{key} was {json.dumps(before)} and is now {json.dumps(after)}")
    return changes
