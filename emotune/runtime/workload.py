"""What a search trains: the seam between the driver and the two kinds of trainings.

The driver, the coordinator and the Tune adapter treat all searches alike. A workload connects to the cluster, makes the
job of an evaluation, and names the Tune class that trains it. `emotune.runtime.experiments` trains experiments of this
package, `emotune.runtime.trainables` trains a trainable of the user.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray import tune

from emotune.runtime.cluster.capacity import Capacity
from emotune.runtime.job import EvaluationJob
from emotune.runtime.options import RunOptions
from emotune.search.records import Evaluation
from emotune.study.definition import SearchDefinition
from emotune.study.folder import SearchFolder

JobMaker = Callable[[Evaluation, Mapping[str, Any]], EvaluationJob]
"""Returns the job of an evaluation, from the fields that all kinds of jobs have."""


@dataclass(frozen=True)
class Workload(ABC):
    """What a search trains."""

    study: SearchDefinition
    """The study."""

    def with_study(self, study: SearchDefinition) -> "Workload":
        """Return the workload of the recorded study."""
        return replace(self, study=study)

    @property
    def stores(self) -> dict[str, str]:
        """Fingerprints by path of the segment stores that every machine must be able to read."""
        return {}

    @abstractmethod
    def connect(self, options: RunOptions) -> Callable[[], Capacity]:
        """Connect to the cluster, and return a function that returns its present capacity.

        Raises:
            ClusterError: Ray does not start, or the running cluster cannot be used.
            SettingsError: The cluster is too small for the options.
        """

    @abstractmethod
    def job_maker(self, folder: SearchFolder, options: RunOptions) -> JobMaker:
        """Return the function that makes the jobs of a search."""

    @abstractmethod
    def trainable(self, options: RunOptions) -> type[tune.Trainable]:
        """Return the Tune class that trains a job."""
