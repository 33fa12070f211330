"""Batches of segments, in an order that is a function of the seed and the epoch."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.randomness import stream


@dataclass(frozen=True, eq=False)
class Batch:
    """A joint batch of all workers, or one worker's part of it.

    Attributes:
        signals: Standardised segments.
        label: A label per segment; None if the task has no labels.
        rows: Row numbers of the segments in the store.
        offset: Position of the first segment in the joint batch.
        joint: Number of segments in the joint batch; None if this is the whole joint batch.
        person_means: Mean vector of each segment's person, for a task that subtracts it; None: there is none.
    """

    signals: Float[Tensor, "batch channel time"]
    label: Float[Tensor, " batch"] | None
    rows: Int64[Tensor, " batch"]
    offset: int = 0
    joint: int | None = None
    person_means: Float[Tensor, "batch width"] | None = None

    @property
    def joint_size(self) -> int:
        """Number of segments in the joint batch."""
        return len(self.rows) if self.joint is None else self.joint

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device, copied asynchronously; the row numbers stay on the CPU."""
        parts = {"signals": self.signals, "label": self.label, "person_means": self.person_means}
        moved = {name: part.to(device, non_blocking=True) for name, part in parts.items() if part is not None}
        return replace(self, **moved)

    def own(self, drawn: Tensor) -> Tensor:
        """Return this part's rows of numbers that were drawn for the whole joint batch.

        Drawing for the joint batch makes random numbers independent of the number of workers.
        """
        return drawn[self.offset : self.offset + len(self.rows)]


@dataclass(frozen=True)
class BatchPlan:
    """Size and order of the batches of an epoch."""

    size: int
    """Largest number of segments in a joint batch."""
    seed: int
    """Seed of the run."""
    epoch: int
    """Number of the epoch, counted from the start of the run across resumptions."""
    shuffle: bool
    """True: random order. False: the order of the given rows."""
    shard: tuple[int, int] = (0, 1)
    """Index of this worker, counted from 0, and number of workers."""
    group: int = 1
    """Segments that stay together: a joint batch is divided among workers between groups of this size."""


def batch_count(rows: int, size: int) -> int:
    """Return the number of joint batches of an epoch, ``ceil(rows / size)``."""
    return -(-rows // size)


def check_shares(rows: int, size: int, *, workers: int, group: int = 1) -> None:
    """Check that every worker has a segment in every joint batch.

    Args:
        rows: Number of segments.
        size: Largest number of segments in a joint batch.
        workers: Number of workers that share a joint batch.
        group: Segments that stay together.

    Raises:
        SettingsError: The smallest joint batch has fewer segments, or fewer groups, than there are workers.
    """
    smallest = rows // max(1, batch_count(rows, size))
    if group > 1 and -(-smallest // group) < workers:
        raise SettingsError(
            f"{smallest} segments of a batch (of {rows} in all, batch_size {size}) are {-(-smallest // group)} groups "
            f"of {group} segments, which cannot be distributed over {workers} workers; use fewer workers, a larger "
            "batch_size or a smaller task.group"
        )
    if smallest < workers:
        raise SettingsError(
            f"{smallest} segments of a batch (of {rows} in all, batch_size {size}) cannot be distributed over "
            f"{workers} workers; use fewer workers or a larger batch_size"
        )


def batches(
    store: SegmentStore,
    rows: Int64[np.ndarray, " row"],
    *,
    plan: BatchPlan,
    labels: Float[np.ndarray, " segment"] | None = None,
    skip: int = 0,
    resident: Float[Tensor, "segment channel time"] | None = None,
) -> Iterator[Batch]:
    """Yield this worker's batches of one epoch.

    The order of the rows is a function of the plan's seed and epoch. The rows are divided into joint batches of
    nearly equal size, independently of the number of workers, and each joint batch into parts of nearly equal
    size, one for each worker. All workers together process every row once, and have the same number of batches.
    A part is empty if a joint batch has fewer segments than there are workers (see `check_shares`).

    Args:
        store: The store of the segments.
        rows: Row numbers of the segments.
        plan: Size and order of the batches.
        labels: A label per segment of the store.
        skip: Number of joint batches to skip at the beginning.
        resident: All signals of the store in the memory of a device; None reads them from the store.
    """
    worker, workers = plan.shard
    assert 0 <= worker < workers, plan.shard
    order = stream(plan.seed, "order", plan.epoch).permutation(rows) if plan.shuffle else rows
    count = batch_count(len(order), plan.size)
    for joint in np.array_split(order, count)[skip:] if count else ():
        parts = np.array_split(np.arange(batch_count(len(joint), plan.group)), workers)
        ends = [min(plan.group * end, len(joint)) for end in itertools.accumulate(map(len, parts), initial=0)]
        part = joint[ends[worker] : ends[worker + 1]]
        yield Batch(
            signals=_pick(store, part, resident=resident),
            label=None if labels is None else torch.from_numpy(labels[part].astype(np.float32)),
            rows=torch.from_numpy(part.copy()),
            offset=ends[worker],
            joint=len(joint),
        )


def _pick(
    store: SegmentStore, rows: Int64[np.ndarray, " row"], *, resident: Tensor | None
) -> Float[Tensor, "batch channel time"]:
    if resident is None:
        return torch.from_numpy(store.signal[rows])
    return resident[torch.from_numpy(rows).to(resident.device, non_blocking=True)]
