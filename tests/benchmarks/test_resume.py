"""The counts of the benchmark of killed drivers."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.resume import Note, is_equal, moments, read_notes, results_lost, trained_again


def trained(config: str, *epochs: int) -> list[Note]:
    return [Note(config, epoch, done) for epoch in epochs for done in (False, True)]


def test_epochs_that_were_started_twice_count_as_trained_again() -> None:
    assert trained_again(trained("a", 1, 2, 3) + trained("b", 1)) == 0
    assert trained_again(trained("a", 1, 2, 3) + trained("a", 2, 3, 4)) == 2
    assert trained_again([Note("a", 4, done=False), *trained("a", 4)]) == 1


def test_a_result_that_is_missing_in_the_table_counts_as_lost() -> None:
    notes = trained("a", 1, 2, 3) + trained("b", 1)
    assert results_lost(notes, table=(("a", 3, 0.5), ("b", 1, 0.7))) == 0
    assert results_lost(notes, table=(("a", 3, None), ("a", 1, 0.5), ("b", 1, 0.7))) == 1
    assert results_lost(notes, table=(("a", 2, 0.5),)) == 2
    assert results_lost(notes, table=None) == 3
    assert results_lost([Note("a", 1, done=False)], table=None) == 0


def test_tables_with_another_order_of_rows_are_equal() -> None:
    table = (("a", 3, 0.5), ("b", 1, None))
    assert is_equal(table, table[::-1])
    assert not is_equal(table, table[:1])
    assert not is_equal(None, None)


@given(st.integers(2, 200), st.integers(1, 5), st.integers(0, 9))
def test_kills_are_distinct_ascending_and_before_the_end(total: int, kills: int, seed: int) -> None:
    numbers = moments(total, kills=kills, seed=seed)
    assert numbers == sorted(set(numbers))
    assert len(numbers) == min(kills, total - 1)
    assert all(0 < number < total for number in numbers)
    assert numbers == moments(total, kills=kills, seed=seed)


def test_an_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    whole = '{"config": "a", "epoch": 1, "done": true}'
    (tmp_path / "7.jsonl").write_text(f"{whole}\n{whole[:20]}")
    assert read_notes(tmp_path) == (Note("a", 1, done=True),)
