"""How a search is run. It imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from emotune.search.stopping import Amount, Hours

TrialsPerGpu = int | Literal["auto"]
"""Evaluations that share a GPU; ``auto``: the number that a probe chooses."""


@dataclass(frozen=True)
class RunOptions:
    """How a search is run. Of these only ``concurrency`` affects the results."""

    concurrency: int | None = None
    """Evaluations at a time; None: the capacity of the cluster, also when that changes."""
    purpose: Literal["configuration", "pretrain", "finetune", "fold"] = "configuration"
    """What a configuration is, for MLflow and the display."""
    measure_test: bool = False
    """Measure the test segments after the last epoch (single runs only)."""
    amounts: Mapping[str, Amount] = field(default_factory=dict)
    """``brackets`` and ``evaluations`` given beside the study; ``+N`` extends a finished search by N."""
    warm_start: tuple[str, ...] = ()
    """Earlier searches whose best configurations are in the study."""
    share: float = 1.0
    """Fraction of the cluster that the search uses, where ``concurrency`` is None."""
    workers: tuple[int, int] | None = None
    """Fewest and most workers of an evaluation, as a Ray Train group; None: one worker, without a group."""
    retry_failed: bool = False
    """Run failed evaluations again, except those that diverged."""
    trials_per_gpu: TrialsPerGpu = 1
    """Evaluations that share a GPU, if the cluster has GPUs and an evaluation has one worker."""
    hours: Hours | None = None
    """Running time after which no evaluation is started; None: the recorded limit, if there is one."""
    baselines: bool = False
    """Whether the cross-validation that runs it also trains baselines, for its resumption."""
    keep: int | None = None
    """Number of the best configurations that keep their checkpoints when they are out of the race; None: all."""


DEFAULT_OPTIONS = RunOptions()
"""A search on the whole cluster that ends by the limits of its study."""
