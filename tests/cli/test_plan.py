"""``emotune search --dry-run``: hours, price and disk, from a measured or a recorded speed."""

import re
from pathlib import Path
from typing import Any

import pytest

from emotune.cli.actions import experiment_search
from emotune.data.store import SegmentStore
from emotune.search.records import Ended, Evaluation, Opened, Record, Started
from emotune.storage import LocalStorage
from emotune.study.bundled import find_study
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.study.preview import cost_of_epochs, preview, recorded_speed
from emotune.study.study import Study, load_study
from tests.cli.test_program import run

__all__ = ["run"]

SECONDS_PER_EPOCH = 7.0


@pytest.fixture
def study() -> Study:
    return load_study(find_study("smoke"))


def records_of(study: Study, *, fingerprint: str) -> list[Record]:
    """Return the journal of a search on a store: an evaluation of the base experiment, and one that failed."""
    base = study.base.model_copy(update={"fingerprint": fingerprint})
    document = study.model_copy(update={"base": base}).as_document()
    numbers = {"time": 1.0, "seed": 0, "concurrency": 1}
    evaluation = Evaluation(id=0, config_id=0, bracket=0, rung=0, from_epoch=1, to_epoch=4, values={}, origin="default")
    return [
        Opened(name="first", study=document, digest=study.digest(), software={}, **numbers),
        Started(time=1.0, evaluation=evaluation),
        Started(time=1.0, evaluation=evaluation.model_copy(update={"id": 1, "config_id": 1})),
        Ended(time=9.0, evaluation_id=0, config_id=0, status="done", objective=1.0, seconds=3 * SECONDS_PER_EPOCH),
        Ended(time=9.0, evaluation_id=1, config_id=1, status="failed", objective=None, seconds=500.0, error="lost"),
    ]


def test_only_evaluations_with_a_result_give_a_recorded_speed(study: Study) -> None:
    records = records_of(study, fingerprint="x")
    assert recorded_speed(records, cost=lambda values: 2.0) == SECONDS_PER_EPOCH / 2
    assert recorded_speed(records[:3], cost=lambda values: 2.0) is None


@pytest.mark.parametrize("same_store", [True, False])
def test_the_plan_has_hours_price_and_disk(
    run: Any, study: Study, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_store: bool
) -> None:
    """The speed is that of the search of the same name, if it has the same segments."""
    seconds = SECONDS_PER_EPOCH if same_store else 3.0
    monkeypatch.setattr(experiment_search, "probe_seconds", lambda study, store: 3.0)
    store = SegmentStore.open(small_store)
    folder = SearchFolder.of("first", storage=LocalStorage(tmp_path / "results"))
    folder.path.mkdir(parents=True)
    with Journal.open(folder.journal, owner="test") as journal:
        for record in records_of(study, fingerprint=store.fingerprint if same_store else "other"):
            journal.append(record)
    printed = run("search", "smoke", "--store", str(small_store), "--name", "first", "--dry-run",
                  "--concurrency", "2", "--price-per-hour", "100")  # fmt: skip
    assert printed.code == 0, printed.err
    basis = "mean of 3 epochs of the search 'first'" if same_store else "a probe on this machine"
    assert f"one epoch of the base experiment takes {seconds:.1f} s ({basis})" in printed.out
    cost = experiment_search.relative_cost(study, store=store)
    hours = cost_of_epochs(preview(study), cost=cost) * seconds * study.base.compute.threads / 3600
    assert f"{hours:.3g} CPU-hours, at {study.base.compute.threads} CPU per evaluation; price: {100 * hours:,.2f}" in (
        printed.out
    )
    assert re.search(r"disk: at most .* of checkpoints; about .* at the end with --keep best:5", printed.out)


def test_a_price_without_a_plan_is_refused(run: Any, small_store: Path) -> None:
    outcome = run("search", "smoke", "--store", str(small_store), "--price-per-hour", "2")
    assert outcome.code == 2
    assert (
        "--price-per-hour 2 was given without --dry-run; add --dry-run, or give it to `emotune report`" in outcome.err
    )
