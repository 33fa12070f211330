"""The table of tasks: a settings class per task, which builds a head and a loss on an encoder."""

from typing import Annotated

from pydantic import Field

from emotune.tasks.base import Objective, TaskSettings
from emotune.tasks.classify import Classify
from emotune.tasks.masked_values import MaskedValues
from emotune.tasks.recognise_transformation import RecogniseTransformation

TASKS: tuple[type[TaskSettings], ...] = (MaskedValues, Classify, RecogniseTransformation)
Task = Annotated[MaskedValues | Classify | RecogniseTransformation, Field(discriminator="kind")]

__all__ = ["TASKS", "Classify", "MaskedValues", "Objective", "RecogniseTransformation", "Task", "TaskSettings"]
