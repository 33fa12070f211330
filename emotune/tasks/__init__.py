"""The table of tasks: what is learnt, as a head and a loss on an encoder."""

from typing import Annotated

from pydantic import Field

from emotune.tasks.base import Objective, TaskSettings
from emotune.tasks.classify import Classify
from emotune.tasks.masked_values import MaskedValues

TASKS: tuple[type[TaskSettings], ...] = (MaskedValues, Classify)
Task = Annotated[MaskedValues | Classify, Field(discriminator="kind")]

__all__ = ["TASKS", "Classify", "MaskedValues", "Objective", "Task", "TaskSettings"]
