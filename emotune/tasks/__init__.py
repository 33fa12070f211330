"""The table of tasks: a settings class per task, which builds a head and a loss on an encoder."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from emotune.plugins import settings_of_plugins
from emotune.tasks.base import Objective, TaskSettings
from emotune.tasks.classify import Classify
from emotune.tasks.contrastive import Contrastive
from emotune.tasks.masked_values import MaskedValues
from emotune.tasks.recognise_transformation import RecogniseTransformation

BUILT_IN: tuple[type[TaskSettings], ...] = (MaskedValues, Classify, RecogniseTransformation, Contrastive)
TASKS: tuple[type[TaskSettings], ...] = (
    *BUILT_IN,
    *settings_of_plugins("emotune.tasks", base=TaskSettings, built_in=BUILT_IN),
)

if TYPE_CHECKING:
    Task = MaskedValues | Classify | RecogniseTransformation | Contrastive
else:
    Task = Annotated[reduce(or_, TASKS), Field(discriminator="kind")]

__all__ = [
    "TASKS",
    "Classify",
    "Contrastive",
    "MaskedValues",
    "Objective",
    "RecogniseTransformation",
    "Task",
    "TaskSettings",
]
