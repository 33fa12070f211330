"""A study: the experiment that is searched, its space, objective, budget and searcher. One YAML file per study."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ConfigSpace import ConfigurationSpace
from pydantic import Field, JsonValue, model_validator

from emotune.base import Settings
from emotune.documents import Document, load_document, parse
from emotune.errors import SettingsError, suggestion
from emotune.experiment import Experiment, deciding_settings
from emotune.search.records import Value
from emotune.search.schedule import rungs
from emotune.search.settings import SearchSettings, search_settings
from emotune.search.space import space_as_document
from emotune.search.values import fitted
from emotune.study.recorded import complete_study
from emotune.study.space import edges, load_space

ELSEWHERE = {
    "min_budget": "budget.min",
    "max_budget": "budget.max",
    "eta": "budget.eta",
    "brackets": "budget.brackets",
    "evaluations": "budget.evaluations",
    "seed": "seed, beside the searcher",
    "earlier": "earlier, beside the searcher",
    "concurrency": "--concurrency",
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


class StudyObjective(Settings):
    """The metric that is optimised."""

    metric: str = "val/loss"
    """Name of a metric that every epoch reports."""

    mode: Literal["min", "max"] = "min"
    """Whether the metric is minimised or maximised."""

    def as_loss(self, value: float) -> float:
        """Return a value of the metric as a loss: ``value`` for ``min``, ``-value`` for ``max``."""
        return value if self.mode == "min" else -value


class Study(Settings):
    """A search in full: base experiment, objective, budget, searcher, space and seed."""

    base: Experiment = Experiment()
    """The settings that all configurations share; the values of the space replace them."""

    objective: StudyObjective = StudyObjective()
    """The metric that is optimised."""

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

    @model_validator(mode="after")
    def _check_epochs(self) -> "Study":
        if self.base.epochs < self.budget.max:
            raise ValueError(
                f"base.epochs: {self.base.epochs} is less than budget.max {self.budget.max}; the learning rate "
                "would be 0 before the last rung. Remove base.epochs or make it at least as large"
            )
        return self

    @classmethod
    def recorded(cls, document: Mapping[str, Any]) -> "Study":
        """Return the study of a journal, with the meaning that it had when it was recorded."""
        return cls.model_validate(complete_study(document))

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
        return search_settings(str(self.searcher.get("kind", "bohb")), {**options, "earlier": self.earlier})

    def as_document(self) -> dict[str, Any]:
        """Return the whole study, defaults included, as plain JSON that reads back as the same study."""
        content = self.model_dump(mode="json", exclude={"space"})
        return content | {"space": space_as_document(self.configuration_space())}

    def digest(self) -> str:
        """Hash everything that decides the results."""
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()[:16]

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the results: all but the paths of stores and encoders and ``compute``."""
        document = self.as_document()
        return document | {"base": deciding_settings(document["base"])}


def load_study(path: Path, *, assignments: Sequence[str] = (), resumed: bool = False) -> Study:
    """Read a study, and check both ends of every range and every choice on the experiment.

    Args:
        path: A study file.
        assignments: Replacements such as ``budget.max=9``, by dotted path in the file.
        resumed: The study is that of a search with results. Then spaces are accepted that older versions accepted and
            this one refuses.

    Raises:
        SettingsError: A setting is misspelt, missing or impossible, the objective is not measured, or the space
            contains a setting that changes how it is measured; the message names file and line.
    """
    document = _train_to_the_last_rung(load_document(path).overridden(assignments))
    study = parse(document, Study)
    _check_searcher(study, document)
    _check_objective(study, document)
    if not resumed:
        _check_mode(study, document)
        _check_yardstick(study, document)
    _check_edges(study, document, recorded=resumed)
    _check_earlier(study, document)
    return study


def _train_to_the_last_rung(document: Document) -> Document:
    """Set ``base.epochs`` to the largest budget, unless it is given."""
    budget, base = document.content.get("budget"), document.content.get("base", {})
    if not isinstance(budget, dict) or not isinstance(base, dict) or "epochs" in base:
        return document
    if not isinstance(budget.get("max"), int):
        return document
    content = document.content | {"base": base | {"epochs": budget["max"]}}
    return dataclasses.replace(document, content=content)


def _check_searcher(study: Study, document: Document) -> None:
    try:
        study.search_settings()
    except SettingsError as error:
        raise SettingsError(f"{document.where(('searcher',))}: {error}") from error


def _check_objective(study: Study, document: Document) -> None:
    """Refuse an objective that no epoch reports, and what a search ignores."""
    task, metric = study.base.task, study.objective.metric
    known = [*(f"val/{name}" for name in task.metrics), "train/loss"]
    where = document.where(("objective", "metric"))
    if metric not in known:
        raise SettingsError(
            f"{where}: objective.metric: {metric!r} was given, but task.kind: {task.kind} reports {', '.join(known)}"
            f"{suggestion(metric, among=known)}"
        )
    if metric.startswith("val/") and not study.base.folds.validation:
        raise SettingsError(
            f"{document.where(('base', 'folds', 'validation'))}: folds.validation: 0 was given, but the objective "
            f"{metric} is measured on validation segments; give a share above 0, for example 0.2"
        )
    if study.base.keep == "best":
        raise SettingsError(
            f"{document.where(('base', 'keep'))}: base.keep: best has no effect in a search, which compares the last "
            "epochs; remove it, and give --set keep=best to `emotune finetune`"
        )


def _check_mode(study: Study, document: Document) -> None:
    """Refuse to search for the worst configuration."""
    metric, mode = study.objective.metric, study.objective.mode
    better = "min" if metric.partition("/")[2] in study.base.task.minimised else "max"
    if mode != better:
        raise SettingsError(
            f"{document.where(('objective',))}: objective.mode: {mode} with metric {metric}, of which "
            f"{'smaller' if better == 'min' else 'larger'} values are better; give --set objective.mode={better}"
        )


def _check_yardstick(study: Study, document: Document) -> None:
    """Refuse a hyperparameter that changes how the objective is measured."""
    metric = study.objective.metric
    yardstick = study.base.yardstick(metric)
    for number, entry in enumerate(study.space.get("hyperparameters", [])):
        name = str(entry.get("name")) if isinstance(entry, dict) else ""
        where = document.where(("space", "hyperparameters", number))
        setting = next((known for known in yardstick if name == known or name.startswith(f"{known}.")), None)
        if setting is not None:
            remedy = f", {yardstick[setting]}" if yardstick[setting] else ""
            raise SettingsError(
                f"{where}: {name} is in the search space, but it changes how {metric} is measured, so that "
                f"configurations could not be compared; set base.{name} to one value{remedy}"
            )
        if name == "keep" or name.startswith("start."):
            raise SettingsError(
                f"{where}: {name} is in the search space, where it has no effect; set base.{name} to one value"
            )


def _check_edges(study: Study, document: Document, *, recorded: bool) -> None:
    try:
        space = load_space(study.space, recorded=recorded)
    except SettingsError as error:
        raise SettingsError(f"{document.where(('space',))}: {error}") from error
    for values in edges(space):
        try:
            study.base.with_values(values)
        except SettingsError as error:
            raise _find_impossible(study, document, values) or SettingsError(
                f"{document.where(('space', 'hyperparameters'))}: the space allows {error}"
            ) from error


def _check_earlier(study: Study, document: Document) -> None:
    space = study.configuration_space()
    for number, values in enumerate(study.earlier):
        try:
            fitted(space, values=values)
        except SettingsError as error:
            raise SettingsError(f"{document.where(('earlier', number))}: {error}") from error


def _find_impossible(study: Study, document: Document, values: dict[str, Any]) -> SettingsError | None:
    """Return the error of the hyperparameter whose value alone is impossible, if there is one."""
    for number, entry in enumerate(study.space["hyperparameters"]):
        name = entry["name"]
        if name not in values:
            continue
        try:
            study.base.with_values({name: values[name]})
        except SettingsError as error:
            return SettingsError(f"{document.where(('space', 'hyperparameters', number))}: {error}")
    return None


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
