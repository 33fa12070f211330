"""A job: one evaluation, as the driver sends it to a worker."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from emotune.base import Settings
from emotune.runtime.cluster.access_check import Requirements
from emotune.storage import StorageField
from emotune.training.epoch_report import EpochReport

Pause = Callable[[], bool]
"""Returns whether a worker is to pause."""


class EvaluationJob(Settings):
    """What the driver and every kind of worker read of an evaluation. Subclasses add what is trained."""

    evaluation_id: int
    config_id: int
    from_epoch: int
    to_epoch: int
    checkpoints: StorageField
    """Folder of the configuration's checkpoints, shared by driver and workers, or one that stands for a bucket's."""
    requirements: Requirements | None = None
    """What the machine of a worker must be able to access."""
    metrics: tuple[str, ...] = ()
    """Metrics of the study's objectives and constraints."""
    crash_file: Path | None = None
    """File into which the process writes the signal that ends it; None: nowhere."""

    @property
    @abstractmethod
    def cost(self) -> float:
        """Cost of an epoch, in a unit that is the same for all jobs of a search."""

    @property
    @abstractmethod
    def silence_limit(self) -> float:
        """Time (s) that the worker may be silent in any case; 0: without limit."""


@runtime_checkable
class EvaluationWorker(Protocol):
    """Trains a job, from its newest checkpoint to its last epoch."""

    @property
    def finished(self) -> bool:
        """Whether the last epoch of the job is done."""
        ...

    def work(self, pause: Pause) -> list[EpochReport]:
        """Train to the end or to a pause, and return the reports that were not returned before.

        Epochs that an earlier worker trained and saved are reported too.

        Args:
            pause: Called at least after every epoch; true: pause.

        Raises:
            TrainingDivergedError: The loss is not finite.
        """
        ...

    def save_when_due(self) -> None:
        """Write a checkpoint at the end of the job, and otherwise now and then."""

    def save(self) -> None:
        """Write a checkpoint of the present position, unless there is one."""
