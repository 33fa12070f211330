import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotune.data.batches import BatchPlan, batch_count, batches
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError


def rows_of(store: SegmentStore, rows: np.ndarray, **plan: object) -> list[list[int]]:
    values: dict = {"size": 8, "seed": 0, "epoch": 1, "shuffle": True} | plan
    return [batch.rows.tolist() for batch in batches(store, rows, plan=BatchPlan(**values))]


@given(
    rows=st.sets(st.integers(0, 71), min_size=4).map(lambda rows: np.array(sorted(rows), dtype=np.int64)),
    size=st.integers(1, 20),
    workers=st.integers(1, 4),
    seed=st.integers(0, 3),
    epoch=st.integers(1, 4),
)
@settings(deadline=None, max_examples=60)
def test_all_workers_together_see_every_row_once(
    store: SegmentStore, rows: np.ndarray, size: int, workers: int, seed: int, epoch: int
) -> None:
    parts = [
        rows_of(store, rows, size=size, seed=seed, epoch=epoch, shard=(worker, workers)) for worker in range(workers)
    ]
    assert sorted(row for part in parts for batch in part for row in batch) == rows.tolist()
    assert {len(part) for part in parts} == {batch_count(len(rows), size, shards=workers)}
    lengths = [len(batch) for part in parts for batch in part]
    assert min(lengths) >= 1
    assert max(lengths) <= size + (size == 1 and workers > 1)


def test_the_joint_batches_do_not_depend_on_the_number_of_workers(store: SegmentStore) -> None:
    rows = np.arange(70)
    alone = rows_of(store, rows, size=16)
    pair = [rows_of(store, rows, size=8, shard=(worker, 2)) for worker in range(2)]
    assert [sorted(batch) for batch in alone] == [sorted(a + b) for a, b in zip(*pair, strict=True)]


def test_only_seed_and_epoch_decide_the_order(store: SegmentStore) -> None:
    rows = np.arange(72)
    np.random.default_rng(1).standard_normal(3)
    assert rows_of(store, rows) == rows_of(store, rows)
    orders = {str(rows_of(store, rows, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_without_shuffling_rows_keep_their_order(store: SegmentStore) -> None:
    rows = np.array([5, 3, 60, 7, 0])
    assert [row for batch in rows_of(store, rows, size=2, shuffle=False) for row in batch] == rows.tolist()


def test_a_batch_holds_the_segments_and_labels_of_its_rows(store: SegmentStore) -> None:
    labels = np.arange(len(store)) / 7
    for batch in batches(store, np.arange(20), plan=BatchPlan(size=6, seed=0, epoch=1, shuffle=True), labels=labels):
        rows = batch.rows.numpy()
        assert np.array_equal(batch.signals.numpy(), store.signal[rows])
        assert batch.label is not None
        assert batch.label.numpy() == pytest.approx(labels[rows])


def test_nothing_gives_no_batch(store: SegmentStore) -> None:
    assert rows_of(store, np.array([], dtype=np.int64)) == []


def test_more_workers_than_segments_are_refused(store: SegmentStore) -> None:
    with pytest.raises(SettingsError, match="2 segments cannot be shared out among 3 workers"):
        rows_of(store, np.arange(2), shard=(0, 3))
