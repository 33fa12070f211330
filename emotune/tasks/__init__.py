"""The table of tasks: a settings class per task, which builds a head and a loss on an encoder."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from emotune.plugins import check_plugin_name, load_plugin_class, plugin_entries
from emotune.tasks.base import Objective, TaskSettings
from emotune.tasks.classify import Classify
from emotune.tasks.masked_values import MaskedValues
from emotune.tasks.recognise_transformation import RecogniseTransformation

BUILT_IN: tuple[type[TaskSettings], ...] = (MaskedValues, Classify, RecogniseTransformation)


def name_of(task: type[TaskSettings]) -> str | None:
    """Return the default of the field ``kind``, the name of a task; None without that field."""
    field = task.model_fields.get("kind")
    return None if field is None else field.default


def _plugin(name: str) -> type[TaskSettings]:
    task = load_plugin_class("emotune.tasks", name, base=TaskSettings)
    check_plugin_name("emotune.tasks", name, own=name_of(task), taken=[name_of(task) or "" for task in BUILT_IN])
    return task


TASKS: tuple[type[TaskSettings], ...] = (*BUILT_IN, *map(_plugin, plugin_entries("emotune.tasks")))

if TYPE_CHECKING:
    Task = MaskedValues | Classify | RecogniseTransformation
else:
    Task = Annotated[reduce(or_, TASKS), Field(discriminator="kind")]

__all__ = ["TASKS", "Classify", "MaskedValues", "Objective", "RecogniseTransformation", "Task", "TaskSettings"]
