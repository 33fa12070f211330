"""The display of a single run: metrics of each epoch, remaining time, and at most one line per interval."""

from itertools import pairwise
from typing import Any

import pytest

from emotune.cli.actions.display import LINE_INTERVAL_S, RunDisplay, SearchDisplay, follow
from emotune.cli.actions.single_run import single_run
from emotune.experiment import Experiment
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Record, Started
from emotune.study.study import StudyObjective

EPOCHS = 40
WHOLE = Evaluation(id=0, config_id=0, bracket=0, rung=0, from_epoch=0, to_epoch=EPOCHS, values={}, origin="default")


def run_display() -> RunDisplay:
    experiment = Experiment.model_validate({"epochs": EPOCHS, "optim": {"warmup_epochs": 2}})
    return RunDisplay(single_run(experiment, objective=StudyObjective(metric="val/loss", mode="min")), name="long")


def epoch(number: int, *, at: float, **more: Any) -> EpochDone:
    metrics = {"train/loss": 0.5, "val/loss": 0.25, "train/segments_per_second": 1234.4} | more
    return EpochDone(time=at, evaluation_id=0, config_id=0, epoch=number, metrics=metrics)


def test_the_line_of_an_epoch_has_its_metrics_and_the_remaining_time() -> None:
    display = run_display()
    display.update(Started(time=0.0, evaluation=WHOLE))
    line = None
    for number in range(1, 11):
        line = display.update(epoch(number, at=20.0 * number, **{"train/peak_share": 0.347}))
    expected = "epoch 10/40: train/loss 0.5, val/loss 0.25, 1234 segments/s, 35% of the peak, about 10 min 0 s left"
    assert line == display.describe() == expected
    assert str(display.render()) == f"long: {expected}"


def test_the_remaining_time_is_estimated_from_the_pace_of_this_driver() -> None:
    display = run_display()
    for number in range(1, 21):
        display.update(epoch(number, at=float(number)))
    display.start_clock()
    for number in range(21, 31):
        display.update(epoch(number, at=10_000.0 + 3 * number))
    assert display.remaining_seconds() == pytest.approx(30.0)
    display.update(epoch(EPOCHS, at=20_000.0))
    assert display.remaining_seconds() is None


def test_the_start_of_a_group_and_epochs_reported_together_do_not_count_as_pace() -> None:
    display = run_display()
    display.update(Started(time=0.0, evaluation=WHOLE))
    for number in range(1, 4):
        display.update(epoch(number, at=35.0 + 0.001 * number))
        assert display.remaining_seconds() is None
    display.update(epoch(4, at=38.0))
    assert display.remaining_seconds() == pytest.approx(36.0, abs=0.1)


def test_a_missing_metric_is_left_out() -> None:
    display = run_display()
    assert display.describe() == "long: waiting for the first epoch"
    display.update(epoch(1, at=0.0, **{"val/loss": None, "train/segments_per_second": None}))
    assert display.describe() == "epoch 1/40: train/loss 0.5"


def test_without_a_terminal_lines_are_ten_seconds_apart_and_the_last_epoch_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records: list[Record] = [epoch(number, at=4.0 * number) for number in range(1, EPOCHS + 1)]
    with follow(run_display(), known=3) as observe:
        for number, record in enumerate(records):
            observe(record, number)
    epochs = [int(line.removeprefix("epoch ").split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert epochs[0] > 3
    assert epochs[-1] == EPOCHS
    assert all(4 * (later - earlier) >= LINE_INTERVAL_S for earlier, later in pairwise(epochs[:-1]))
    assert len(epochs) == pytest.approx(4 * EPOCHS / LINE_INTERVAL_S, rel=0.3)


def test_both_displays_print_the_state_that_a_run_ends_in() -> None:
    closed = Closed(time=0.0, state="interrupted", reason="SIGINT")
    assert run_display().update(closed) == "run long: interrupted (SIGINT)"
    study = run_display().study
    assert SearchDisplay(study, name="folds").update(closed) == "search folds: interrupted (SIGINT)"


def test_a_search_prints_starts_results_and_the_best_one() -> None:
    display = SearchDisplay(run_display().study, name="small")
    assert display.update(Started(time=0.0, evaluation=WHOLE)) == "evaluation 0 (configuration 0, default): epochs 0-40"
    assert display.update(epoch(40, at=5.0)) is None
    ended = Ended(time=9.0, evaluation_id=0, config_id=0, status="done", objective=0.25, seconds=9.0)
    expected = "evaluation 0 done: val/loss 0.25 at epoch 40, 9.0 s; best: 0.25 (configuration 0, epoch 40)"
    assert display.update(ended) == expected
    assert display.remaining_seconds() == 0
