"""A study: the experiment that is searched, its space, objective, budget and searcher. One YAML file per study."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import model_validator

from emotune.documents import Document, load_document, parse
from emotune.errors import SettingsError, suggestion
from emotune.experiment import Experiment, deciding_settings
from emotune.study.definition import ChangedDefault, SearchDefinition, StudyObjective, check_earlier, check_searcher
from emotune.study.recorded import check_kind, complete_study, without_unrecorded
from emotune.study.space import edges, load_space
from emotune.tasks import TaskSettings
from emotune.tasks.probe import PROBE_METRICS

CHANGED_DEFAULTS = ("threshold", "validation")
"""Settings of tasks whose default newer versions changed."""


class Study(SearchDefinition):
    """A search of experiments in full: base experiment, objective, budget, searcher, space and seed."""

    objective: StudyObjective = StudyObjective()
    """The metric that is optimised."""

    base: Experiment = Experiment()
    """The settings that all configurations share; the values of the space replace them."""

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
        check_kind(document, expected="experiment")
        return cls.model_validate(complete_study(document))

    def cost(self, values: Mapping[str, Any]) -> float:
        """Return the number of floating-point operations of a configuration's forward pass."""
        return self.base.with_values(values).cost()

    def as_document(self) -> dict[str, Any]:
        """Return the whole study, defaults included, as plain JSON that reads back as the same study."""
        content = super().as_document()
        return {"base": content.pop("base"), **content}

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the results: all but the paths of stores and encoders and ``compute``."""
        document = without_unrecorded(self.as_document())
        return document | {"base": deciding_settings(document["base"])}

    def with_recorded_defaults(self, document: Mapping[str, Any]) -> tuple["Study", list[ChangedDefault]]:
        """Return the study with defaults of a recorded one where newer versions have changed them, and those.

        A study file that leaves such a setting out means the default of the version that started the search.
        """
        study, changes = super().with_recorded_defaults(document)
        before, task = Study.recorded(document).base.task, self.base.task
        if before.kind != task.kind:
            return study, changes
        defaults = type(task)().model_dump()
        old, now = before.model_dump(), task.model_dump()
        names = [name for name in CHANGED_DEFAULTS if name in now and old[name] != now[name] == defaults[name]]
        changed = task.model_copy(update={name: getattr(before, name) for name in names})
        changes += [ChangedDefault(f"task.{name}", recorded=old[name], default=now[name]) for name in names]
        return study.model_copy(update={"base": self.base.model_copy(update={"task": changed})}), changes


def load_study(
    path: Path, *, assignments: Sequence[str] = (), resumed: bool = False, base: Experiment | None = None
) -> Study:
    """Read a study, and check both ends of every range and every choice on the experiment.

    Args:
        path: A study file.
        assignments: Replacements such as ``budget.max=9``, by dotted path in the file.
        resumed: The study is that of a search with results. Then spaces are accepted that older versions accepted and
            this one refuses.
        base: The experiment to search, in the place of that of the file.

    Raises:
        SettingsError: A setting is misspelt, missing or impossible, the objective is not measured, or the space
            contains a setting that changes how it is measured; the message names file and line.
    """
    document = load_document(path).overridden(assignments)
    if base is not None:
        content = document.content | {"base": base.model_dump(mode="json")}
        document = dataclasses.replace(document, content=content)
    document = _train_to_the_last_rung(document)
    study = parse(document, Study)
    check_searcher(study, document)
    _check_objective(study, document)
    if not resumed:
        _check_mode(study, document)
        _check_yardstick(study, document)
    _check_edges(study, document, recorded=resumed)
    check_earlier(study, document)
    return study


def _train_to_the_last_rung(document: Document) -> Document:
    """Set ``base.epochs`` to the largest budget, unless it is given."""
    budget, base = document.content.get("budget"), document.content.get("base", {})
    if not isinstance(budget, dict) or not isinstance(base, dict) or "epochs" in base:
        return document
    if not isinstance(budget.get("max"), int) or budget["max"] < 1:
        return document  # the budget is refused by itself
    content = document.content | {"base": base | {"epochs": budget["max"]}}
    return dataclasses.replace(document, content=content)


def _check_objective(study: Study, document: Document) -> None:
    """Refuse an objective that no epoch reports, and what a search ignores."""
    task, metric = study.base.task, study.objective.metric
    probed = [f"probe/{name}" for name in PROBE_METRICS]
    known = [*(f"val/{name}" for name in task.metrics), "train/loss"]
    known += probed if task.probe_settings() is not None else []
    where = document.where(("objective", "metric"))
    if metric not in known:
        raise SettingsError(
            f"{where}: objective.metric: {metric!r} was given, but task.kind: {task.kind} reports {', '.join(known)}"
            + _remedy(metric, task=task, known=known)
        )
    if metric.startswith(("val/", "probe/")) and not study.base.folds.validation:
        raise SettingsError(
            f"{document.where(('base', 'folds', 'validation'))}: folds.validation: 0 was given, but the objective "
            f"{metric} is measured on validation segments; give a share above 0, for example 0.2"
        )
    if study.base.keep == "best":
        raise SettingsError(
            f"{document.where(('base', 'keep'))}: base.keep: best has no effect in a search, which compares the last "
            "epochs; remove it, and give --set keep=best to `emotune finetune`"
        )


def _remedy(metric: str, *, task: TaskSettings, known: Sequence[str]) -> str:
    """Return the end of the refusal of a metric."""
    if metric.startswith("probe/") and "probe" in type(task).model_fields and task.probe_settings() is None:
        return "; a probe needs labels: give base.task.probe, for example {target: valence}"
    return suggestion(metric, among=known)


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
        if name == "keep" or name.startswith(("start.", "task.probe.")):
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
