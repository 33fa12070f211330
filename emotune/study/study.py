"""A study: the experiment that is searched, its space, objective, budget and searcher. One YAML file per study."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import model_validator

from emotune.data.store import SegmentStore
from emotune.documents import Document, load_document, parse
from emotune.errors import SettingsError, suggestion
from emotune.experiment import Experiment, deciding_settings
from emotune.search.criteria import PARAMETERS, SECONDS_PER_EPOCH, StudyObjective
from emotune.study.definition import (
    ChangedDefault,
    SearchDefinition,
    check_criteria,
    check_earlier,
    check_searcher,
    metric_paths,
    with_first_objective,
)
from emotune.study.recorded import check_kind, complete_study, without_unrecorded
from emotune.study.space import edges, load_space
from emotune.tasks import TaskSettings
from emotune.tasks.probe import PROBE_METRICS
from emotune.training.loop import TrainingData

CHANGED_DEFAULTS = ("threshold", "validation")
"""Settings of tasks whose default newer versions changed."""


class Study(SearchDefinition):
    """A search of experiments in full: base experiment, objective, budget, searcher, space and seed."""

    objective: StudyObjective = StudyObjective()
    """The metric that is optimised, or the first of several."""

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

    def admits(self, values: Mapping[str, Any]) -> bool:
        """Return whether a configuration's number of parameters is allowed; True without the study's store."""
        limit = self.constraints.get(PARAMETERS)
        if limit is None or not self.base.store:
            return True
        return not limit.violation(float(self.parameters(values)))

    def parameters(self, values: Mapping[str, Any]) -> int:
        """Return the number of trainable parameters of a configuration. The store's index is read once.

        Raises:
            DataError: The store cannot be read.
        """
        return self.base.with_values(values).parameters(_training_data(self.base.model_dump_json()))

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


@lru_cache(maxsize=4)
def _training_data(base: str) -> TrainingData:
    """Return the segments of a base experiment, given as JSON: all configurations have the same."""
    experiment = Experiment.model_validate_json(base)
    return experiment.select(SegmentStore.open(Path(experiment.store)))


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
    document = with_first_objective(load_document(path).overridden(assignments))
    if base is not None:
        content = document.content | {"base": base.model_dump(mode="json")}
        document = dataclasses.replace(document, content=content)
    document = _train_to_the_last_rung(document)
    study = parse(document, Study)
    check_searcher(study, document)
    check_criteria(study, document)
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
    task = study.base.task
    probed = [f"probe/{name}" for name in PROBE_METRICS] if task.probe_settings() is not None else []
    known = [*(f"val/{name}" for name in task.metrics), "train/loss", *probed, PARAMETERS, SECONDS_PER_EPOCH]
    for metric, path in metric_paths(study):
        if metric not in known:
            raise SettingsError(
                f"{document.where(path)}: {study.criteria.setting_of(metric)}: {metric!r} was given, but task.kind: "
                f"{task.kind} reports {', '.join(known)}{_remedy(metric, task=task, known=known)}"
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
    task = study.base.task
    for (metric, path), objective in zip(metric_paths(study), study.criteria.objectives, strict=False):
        is_loss = metric in {PARAMETERS, SECONDS_PER_EPOCH} or metric.partition("/")[2] in task.minimised
        better = "min" if is_loss else "max"
        if objective.mode != better:
            number = "" if len(study.criteria.objectives) == 1 else f"{study.criteria.objectives.index(objective)}."
            raise SettingsError(
                f"{document.where(path[:-1])}: objective.{number}mode: {objective.mode} with metric {metric}, of which "
                f"{'smaller' if better == 'min' else 'larger'} values are better; give "
                f"--set objective.{number}mode={better}"
            )


def _check_yardstick(study: Study, document: Document) -> None:
    """Refuse a hyperparameter that changes how an objective or a constraint is measured."""
    for metric in study.criteria.metrics:
        if metric not in {PARAMETERS, SECONDS_PER_EPOCH}:
            _check_metric_yardstick(study, document, metric)


def _check_metric_yardstick(study: Study, document: Document, metric: str) -> None:
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
