"""Batches of segments, in an order that only the seed and the epoch decide."""

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
    """Some segments: a joint batch, or one worker's part of it.

    Attributes:
        signals: The segments, standardised.
        label: A label per segment, or None.
        rows: Their row numbers in the store.
        offset: Place of the first of them in the joint batch.
        joint: Number of segments in the joint batch; None if this is all of it.
    """

    signals: Float[Tensor, "batch channel time"]
    label: Float[Tensor, " batch"] | None
    rows: Int64[Tensor, " batch"]
    offset: int = 0
    joint: int | None = None

    @property
    def joint_size(self) -> int:
        """Number of segments that all workers have together."""
        return len(self.rows) if self.joint is None else self.joint

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same on a device, without waiting for it; the row numbers stay on the CPU."""
        label = None if self.label is None else self.label.to(device, non_blocking=True)
        return replace(self, signals=self.signals.to(device, non_blocking=True), label=label)

    def own(self, drawn: Tensor) -> Tensor:
        """Return this part's rows of what was drawn for the whole joint batch.

        So what is random does not depend on the number of workers.
        """
        return drawn[self.offset : self.offset + len(self.rows)]


@dataclass(frozen=True)
class BatchPlan:
    """In which portions and which order to go through some segments."""

    size: int
    """Largest number of segments in a joint batch, that of all workers together."""
    seed: int
    """Seed of the run."""
    epoch: int
    """Epoch, counted over all resumptions."""
    shuffle: bool
    """Whether to shuffle; otherwise they come in the order they are given in."""
    shard: tuple[int, int] = (0, 1)
    """Number of this worker, counted from 0, and of all workers."""


def batch_count(rows: int, size: int) -> int:
    """Count the joint batches of an epoch, of at most so many segments each."""
    return -(-rows // size)


def check_shares(rows: int, size: int, *, workers: int) -> None:
    """Refuse a number of workers some of which would have nothing to do in a joint batch.

    Args:
        rows: Number of segments.
        size: Largest number of segments in a joint batch.
        workers: How many share it.

    Raises:
        SettingsError: A joint batch has fewer segments than there are workers.
    """
    smallest = rows // max(1, batch_count(rows, size))
    if smallest < workers:
        raise SettingsError(
            f"{smallest} segments of a batch (of {rows} in all, batch_size {size}) cannot be shared out among "
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
    """Go once through some segments.

    The order is a function of the plan's seed and epoch alone. It is cut into nearly equal joint
    batches, which do not depend on the number of workers, and these into nearly equal parts, one for
    each worker: all workers together see every row once, and each has the same number of batches. A
    part is empty where a joint batch has fewer segments than there are workers (see `check_shares`).

    Args:
        store: Where the segments are.
        rows: Their row numbers.
        plan: Size and order of the batches.
        labels: A label per segment of the store.
        skip: Leave out so many joint batches at the beginning.
        resident: All signals of the store, to be taken from there.
    """
    worker, workers = plan.shard
    assert 0 <= worker < workers, plan.shard
    order = stream(plan.seed, "order", plan.epoch).permutation(rows) if plan.shuffle else rows
    count = batch_count(len(order), plan.size)
    for joint in np.array_split(order, count)[skip:] if count else ():
        parts = np.array_split(np.arange(len(joint)), workers)
        part = joint[parts[worker]]
        yield Batch(
            signals=_pick(store, part, resident=resident),
            label=None if labels is None else torch.from_numpy(labels[part].astype(np.float32)),
            rows=torch.from_numpy(part.copy()),
            offset=sum(map(len, parts[:worker])),
            joint=len(joint),
        )


def _pick(
    store: SegmentStore, rows: Int64[np.ndarray, " row"], *, resident: Tensor | None
) -> Float[Tensor, "batch channel time"]:
    if resident is None:
        return torch.from_numpy(store.signal[rows])
    return resident[torch.from_numpy(rows).to(resident.device, non_blocking=True)]
