"""The meaning of recorded studies: what they train, and settings and defaults that older versions did not have.

A journal holds its study with all settings. A setting that a newer version added is missing from an old record and
there has the meaning of the old version, which is not always the present default.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from emotune.errors import SettingsError
from emotune.search.records import Order

NOT_IMPORTABLE = ("__main__:", "<locals>")
"""Parts of the name of a trainable that another process cannot import."""

Kind = Literal["experiment", "trainable", "tuner"]

KINDS: Mapping[Kind, str] = MappingProxyType(
    {
        "experiment": "trains an experiment of emotune",
        "trainable": "trains a trainable of your own",
        "tuner": "runs in a ray.tune.Tuner of its own",
    }
)
"""What a search of each kind does, for messages."""


def kind_of(document: Mapping[str, Any]) -> Kind:
    """Return the kind of a recorded study."""
    trainable = document.get("trainable")
    if trainable is None:
        return "experiment"
    return "trainable" if isinstance(trainable, str) else "tuner"


def check_kind(document: Mapping[str, Any], *, expected: Kind) -> None:
    """Refuse a recorded study of another kind.

    Raises:
        SettingsError: Its message is the end of a sentence about the search.
    """
    kind = kind_of(document)
    if kind != expected:
        raise SettingsError(f"{KINDS[kind]}; expected one that {KINDS[expected]}")


def is_importable(name: str) -> bool:
    """Return whether another program can import a trainable: not those of a script, a notebook or a function."""
    return not any(part in name for part in NOT_IMPORTABLE)


def can_resume(document: Mapping[str, Any]) -> bool:
    """Return whether ``emotune resume`` can resume the search of a recorded study."""
    kind = kind_of(document)
    return kind == "experiment" or (kind == "trainable" and is_importable(document["trainable"]))


UNRECORDED_MODEL = "rungs"
"""Model of the searcher ``bohb`` in records that do not name one: the default of the versions that wrote them."""

UNRECORDED_ORDER: Order = "strict"
"""Order of searches whose record has none."""


def complete_study(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded study with the settings that older versions did not record, at what they did.

    Before there was ``task.validation``, validation segments had the mask of the training. A record of ``bohb``
    without a model has `UNRECORDED_MODEL`.
    """
    searcher = study.get("searcher")
    if isinstance(searcher, Mapping) and searcher.get("kind", "bohb") == "bohb":
        study = {**study, "searcher": {"model": UNRECORDED_MODEL, **searcher}}
    base = dict(study.get("base") or {})
    task = base.get("task")
    if isinstance(task, Mapping) and task.get("kind") == "masked_values":
        base["task"] = {"validation": None, **task}
    return {**study, "base": base} if "base" in study else dict(study)


def recorded_order(study: Mapping[str, Any]) -> Order:
    """Return the order of a recorded study: `UNRECORDED_ORDER` if it has none."""
    return study.get("searcher", {}).get("order", UNRECORDED_ORDER)


def without_unrecorded(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete study without model and order where they are those of records that have none.

    So the digests of older versions stay the same.
    """
    unrecorded = {"model": UNRECORDED_MODEL, "order": UNRECORDED_ORDER}
    kept = {name: value for name, value in study["searcher"].items() if unrecorded.get(name) != value}
    return {**study, "searcher": kept}
