"""Batches of segments, in an order that only the seed and the epoch decide."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.randomness import stream


@dataclass(frozen=True, eq=False)
class Batch:
    """Some segments, on the CPU.

    Attributes:
        signals: The segments, standardised.
        label: A label per segment, or None.
        rows: Their row numbers in the store.
    """

    signals: Float[Tensor, "batch channel time"]
    label: Float[Tensor, " batch"] | None
    rows: Int64[Tensor, " batch"]


@dataclass(frozen=True)
class BatchPlan:
    """In which portions and which order to go through some segments."""

    size: int
    """Largest number of segments in a worker's batch."""
    seed: int
    """Seed of the run."""
    epoch: int
    """Epoch, counted over all resumptions."""
    shuffle: bool
    """Whether to shuffle; otherwise they come in the order they are given in."""
    shard: tuple[int, int] = (0, 1)
    """Number of this worker, counted from 0, and of all workers."""


def batch_count(rows: int, size: int, *, shards: int = 1) -> int:
    """Count the batches of an epoch; every worker has the same number.

    Args:
        rows: Number of segments.
        size: Largest number of segments in a worker's batch.
        shards: Number of workers.

    Raises:
        SettingsError: There are fewer segments than workers.
    """
    if rows == 0:
        return 0
    if rows < shards:
        raise SettingsError(f"{rows} segments cannot be shared out among {shards} workers. Use fewer workers.")
    return min(-(-rows // (size * shards)), rows // shards)


def batches(
    store: SegmentStore,
    rows: Int64[np.ndarray, " row"],
    *,
    plan: BatchPlan,
    labels: Float[np.ndarray, " segment"] | None = None,
) -> Iterator[Batch]:
    """Go once through some segments.

    The order is a function of the plan's seed and epoch alone. It is cut into nearly equal joint
    batches, and these into a part for each worker: all workers together see every row once, each
    has the same number of batches, and the joint batches depend on ``size * workers`` only. A
    batch never has more than ``size`` rows, or one more where ``size`` is 1 and several workers
    do not come out even.

    Args:
        store: Where the segments are.
        rows: Their row numbers.
        plan: Size and order of the batches.
        labels: A label per segment of the store.

    Raises:
        SettingsError: There are fewer segments than workers.
    """
    worker, workers = plan.shard
    assert 0 <= worker < workers, plan.shard
    order = stream(plan.seed, "order", plan.epoch).permutation(rows) if plan.shuffle else rows
    count = batch_count(len(order), plan.size, shards=workers)
    for joint in np.array_split(order, count) if count else ():
        part = np.array_split(joint, workers)[worker]
        yield Batch(
            signals=torch.from_numpy(store.signal[part]),
            label=None if labels is None else torch.from_numpy(labels[part].astype(np.float32)),
            rows=torch.from_numpy(part.copy()),
        )
