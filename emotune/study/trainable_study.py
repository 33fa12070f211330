"""A study of a trainable of the user: a class of `ray.tune.Trainable`, or a function that trains an epoch.

Nothing about signals, networks or tasks is imported here.
"""

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace
from pydantic import Field, JsonValue, field_validator

from emotune.documents import Document, parse
from emotune.documents.text import shorten
from emotune.errors import SettingsError, suggestion, summary
from emotune.search.space import space_as_document
from emotune.study.definition import (
    Budget,
    SearchDefinition,
    check_criteria,
    check_earlier,
    check_searcher,
    with_first_objective,
)
from emotune.study.recorded import check_kind, complete_study, without_unrecorded
from emotune.study.space import load_space

Trainable = type[Any] | Callable[..., Any]
"""A subclass of `ray.tune.Trainable`, or a function ``train(config, epochs, checkpoint)``."""

CALL = "emotune.search"
"""Place of the settings of a call, in messages."""

PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""Where a trainable is defined: ``module:name``."""


class TrainableStudy(SearchDefinition):
    """A search of a trainable in full: objective, budget, searcher, space and seed, and what is trained."""

    trainable: str
    """Where it is defined: ``module:name``, for example ``my_package.training:MyTrainable``."""

    constants: dict[str, JsonValue] = Field(default={})
    """Entries that every configuration has beside the values of the space, for example the path of the data."""

    resources: dict[str, float] = Field(default={"CPU": 1.0})
    """Resources of an evaluation by Ray's names, for example ``{CPU: 1, GPU: 0.5}``."""

    patience: float = Field(default=600, ge=0)
    """Time (s) that an evaluation may be silent before its worker is restarted, if ten times the duration of its epochs
    is less; 0: without limit."""

    @field_validator("resources")
    @classmethod
    def _check_resources(cls, resources: dict[str, float]) -> dict[str, float]:
        if any(amount < 0 for amount in resources.values()):
            raise ValueError(f"{resources} was given; expected amounts of 0 or more, such as CPU: 1")
        if not any(resources.values()):
            raise ValueError(f"{resources} was given; expected at least one resource, such as CPU: 1")
        return resources

    @classmethod
    def recorded(cls, document: Mapping[str, Any]) -> "TrainableStudy":
        """Return the study of a journal."""
        check_kind(document, expected="trainable")
        content = complete_study(document)
        return cls.model_validate({name: value for name, value in content.items() if name != "base"})

    def cost(self, values: Mapping[str, Any]) -> float:
        """Return 1: the duration of an epoch is not known before it is measured."""
        del values
        return 1.0

    def as_document(self) -> dict[str, Any]:
        """Return the whole study as plain JSON, with an empty ``base``, which readers of journals expect."""
        return {"base": {}, **super().as_document()}

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the results: all but how an evaluation is run."""
        content = without_unrecorded(self.as_document())
        return {name: value for name, value in content.items() if name not in {"resources", "patience"}}


def read_trainable_study(document: Document, *, assignments: Sequence[str] = ()) -> TrainableStudy:
    """Return the study of a document with a ``trainable``.

    Args:
        document: The document.
        assignments: Replacements such as ``budget.max=9``, by dotted path in the document.

    Raises:
        SettingsError: A setting is misspelt, missing or impossible; the message names file and line.
    """
    document = with_first_objective(document.overridden(assignments))
    study = parse(document, TrainableStudy)
    where = document.where(("trainable",))
    if not PATH.fullmatch(study.trainable.replace("<locals>", "locals")):
        raise SettingsError(
            f"{where}: trainable: {study.trainable!r} was given; expected module:name, for example "
            "my_package.training:MyTrainable"
        )
    check_searcher(study, document)
    check_criteria(study, document)
    try:
        space = load_space(study.space)
    except SettingsError as error:
        raise SettingsError(f"{document.where(('space',))}: {error}") from error
    both = sorted(set(space) & set(study.constants))
    if both:
        raise SettingsError(
            f"{document.where(('constants', both[0]))}: {both[0]} is in constants and in the space; leave one out"
        )
    check_earlier(study, document)
    return study


def name_of(trainable: Any) -> str:
    """Return where a trainable is defined, as ``module:name``.

    A script has the name of its file, so that it and a study file that names it are the same search.

    Raises:
        SettingsError: It is neither a subclass of `ray.tune.Trainable` nor a function of three arguments.
    """
    check_trainable(trainable)
    module = trainable.__module__
    return f"{_name_of_script() if module == '__main__' else module}:{trainable.__qualname__}"


def _name_of_script() -> str:
    """Return the name by which the running script can be imported; ``__main__`` in a notebook."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:  # python -m
        return spec.name
    return Path(file).stem if file is not None and Path(file).stem.isidentifier() else "__main__"


def check_trainable(trainable: Any) -> None:
    """Refuse what cannot be trained.

    Raises:
        SettingsError: It is neither a subclass of `ray.tune.Trainable` nor a function of three arguments.
    """
    if inspect.isclass(trainable):
        if {"step", "save_checkpoint", "load_checkpoint"} <= set(dir(trainable)) and hasattr(trainable, "train"):
            return
    elif inspect.isfunction(trainable) and _takes_three(trainable):
        return
    raise SettingsError(
        f"trainable: {trainable!r} was given; expected a subclass of ray.tune.Trainable, or a function "
        "train(config, epochs, checkpoint)"
    )


def _takes_three(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind({}, 1, Path())
    except TypeError:
        return False
    return True


def import_trainable(name: str) -> Trainable:
    """Import a trainable by ``module:name``; modules in the present folder are found as well.

    Raises:
        SettingsError: There is no such module or name, importing it fails, or it cannot be trained.
    """
    module_name, _, qualified = name.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as error:
        raise SettingsError(
            f"trainable: {name}: the module {module_name} cannot be imported: {summary(error)}; type the command "
            "in its folder, or set PYTHONPATH"
        ) from error
    for part in qualified.split("."):
        if not hasattr(target, part):
            known = [public for public in vars(target) if not public.startswith("_")]
            raise SettingsError(
                f"trainable: {name}: there is no {part!r} in {module_name}{suggestion(part, among=known)}"
            )
        target = getattr(target, part)
    check_trainable(target)
    return target


def _objective(metric: Any, mode: str | Sequence[str]) -> Any:
    """Return ``objective`` of a study file: a mapping, or a list of these for several metrics."""
    if isinstance(metric, str) and isinstance(mode, str):
        return {"metric": metric, "mode": mode}
    metrics = [metric] if isinstance(metric, str) else list(metric)
    modes = [mode] * len(metrics) if isinstance(mode, str) else list(mode)
    if len(metrics) != len(modes):
        raise SettingsError(f"mode: {modes} was given; expected one for each metric of {metrics}")
    return [{"metric": name, "mode": direction} for name, direction in zip(metrics, modes, strict=True)]


def describe_study(trainable: Any, *, settings: Mapping[str, Any], mode: str | Sequence[str]) -> Document:
    """Return the study of a call of `emotune.search` as a document, as a study file has it.

    Args:
        trainable: A subclass of `ray.tune.Trainable`, or a function.
        settings: ``space``, ``budget`` and ``metric``, and others of `TrainableStudy`.
        mode: ``min`` or ``max``, or one for each of several metrics.

    Raises:
        SettingsError: The trainable cannot be trained, or one of the three is missing.
    """
    path = name_of(trainable)
    missing = [name for name in ("space", "budget", "metric") if name not in settings]
    if missing:
        raise SettingsError(
            f"{' and '.join(missing)}: missing; expected emotune.search({trainable.__name__}, space=..., "
            "budget=emotune.Budget(1, 27), metric=...)"
        )
    space, budget = settings["space"], settings["budget"]
    if not isinstance(space, ConfigurationSpace):
        raise SettingsError(f"space: {shorten(space)} was given; expected a ConfigSpace.ConfigurationSpace")
    if not isinstance(budget, Budget):
        raise SettingsError(f"budget: {shorten(budget)} was given; expected an emotune.Budget, such as Budget(1, 27)")
    content = {
        "trainable": path,
        "objective": _objective(settings["metric"], mode),
        "budget": budget.model_dump(mode="json"),
        "space": space_as_document(space),
        **{name: value for name, value in settings.items() if name not in {"space", "budget", "metric"}},
    }
    try:
        content = json.loads(json.dumps(content, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"searcher, constants and resources: expected numbers and text only: {error}") from error
    return Document(name=CALL, content=content, positions={(name,): CALL for name in content})
