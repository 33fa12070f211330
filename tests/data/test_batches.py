import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.batches import BatchPlan, batch_count, batches, check_shares
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
def test_all_workers_together_see_every_row_once(
    store: SegmentStore, rows: np.ndarray, size: int, workers: int, seed: int, epoch: int
) -> None:
    parts = [
        rows_of(store, rows, size=size, seed=seed, epoch=epoch, shard=(worker, workers)) for worker in range(workers)
    ]
    assert sorted(row for part in parts for batch in part for row in batch) == rows.tolist()
    assert {len(part) for part in parts} == {batch_count(len(rows), size)}
    joint = [[row for part in batch for row in part] for batch in zip(*parts, strict=True)]
    assert joint == rows_of(store, rows, size=size, seed=seed, epoch=epoch)
    assert max(map(len, joint)) <= size
    smallest = min(len(batch) for part in parts for batch in part)
    if smallest:
        check_shares(len(rows), size, workers=workers)
    else:
        with pytest.raises(SettingsError, match=f"cannot be distributed over {workers} workers"):
            check_shares(len(rows), size, workers=workers)


@given(rows=st.integers(1, 72), size=st.integers(1, 20), workers=st.integers(1, 4), group=st.integers(2, 9))
def test_a_joint_batch_is_divided_between_groups(
    store: SegmentStore, rows: int, size: int, workers: int, group: int
) -> None:
    numbers = np.arange(rows)
    whole = rows_of(store, numbers, size=size)
    plans = [
        BatchPlan(size=size, seed=0, epoch=1, shuffle=True, shard=(worker, workers), group=group)
        for worker in range(workers)
    ]
    parts = [list(batches(store, numbers, plan=plan)) for plan in plans]
    for joint, *shares in zip(whole, *parts, strict=True):
        assert [row for share in shares for row in share.rows.tolist()] == joint
        assert all(share.offset % group == 0 or not len(share.rows) for share in shares)
        assert all(share.own(torch.tensor(joint)).tolist() == share.rows.tolist() for share in shares)
    if min(len(share.rows) for part in parts for share in part):
        check_shares(rows, size, workers=workers, group=group)
    else:
        with pytest.raises(SettingsError, match=f"cannot be distributed over {workers} workers"):
            check_shares(rows, size, workers=workers, group=group)


@given(skip=st.integers(0, 9))
def test_an_epoch_resumes_after_any_batch(store: SegmentStore, skip: int) -> None:
    plan = BatchPlan(size=8, seed=0, epoch=1, shuffle=True)
    rest = [batch.rows.tolist() for batch in batches(store, np.arange(70), plan=plan, skip=skip)]
    assert rest == rows_of(store, np.arange(70))[skip:]


@given(workers=st.integers(1, 5))
def test_parts_are_placed_in_the_joint_batch(store: SegmentStore, workers: int) -> None:
    plans = [BatchPlan(size=7, seed=0, epoch=1, shuffle=True, shard=(worker, workers)) for worker in range(workers)]
    whole = rows_of(store, np.arange(20), size=7)
    for plan in plans:
        for batch, joint in zip(batches(store, np.arange(20), plan=plan), whole, strict=True):
            assert batch.joint_size == len(joint)
            assert batch.own(torch.tensor(joint)).tolist() == batch.rows.tolist()


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
