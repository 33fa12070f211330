"""Promises of what a long run shows: each epoch's figures, the time left, and no line too many."""

from itertools import pairwise
from typing import Any

import pytest

from emotune.cli.finetune import single_run
from emotune.cli.progress import LINE_SECONDS, RunProgress, follow
from emotune.experiment import Experiment
from emotune.search.records import EpochDone, Evaluation, Record, Started
from emotune.study.study import StudyObjective

EPOCHS = 40


def progress() -> RunProgress:
    experiment = Experiment.model_validate({"epochs": EPOCHS, "optim": {"warmup_epochs": 2}})
    return RunProgress(single_run(experiment, aim=StudyObjective(metric="val/loss", mode="min")), name="long")


def epoch(number: int, *, at: float, **more: Any) -> EpochDone:
    metrics = {"train/loss": 0.5, "val/loss": 0.25, "train/segments_per_second": 1234.4} | more
    return EpochDone(time=at, evaluation_id=0, config_id=0, epoch=number, metrics=metrics)


def test_an_epoch_is_told_with_its_figures_and_the_time_left() -> None:
    shown = progress()
    whole = Evaluation(id=0, config_id=0, bracket=0, rung=0, from_epoch=0, to_epoch=EPOCHS, values={}, origin="default")
    shown.take(Started(time=0.0, evaluation=whole))
    line = None
    for number in range(1, 11):
        line = shown.take(epoch(number, at=20.0 * number, **{"train/peak_share": 0.347}))
    expected = "epoch 10/40: train/loss 0.5, val/loss 0.25, 1234 segments/s, 35% of the peak, about 10 min 0 s left"
    assert line == shown.describe() == expected
    assert str(shown.render()) == f"long: {expected}"


def test_the_time_left_goes_by_the_pace_of_this_driver() -> None:
    shown = progress()
    for number in range(1, 21):
        shown.take(epoch(number, at=float(number)))
    shown.begin()
    for number in range(21, 31):
        shown.take(epoch(number, at=10_000.0 + 3 * number))
    assert shown.remaining_seconds() == pytest.approx(30.0)
    shown.take(epoch(EPOCHS, at=20_000.0))
    assert shown.remaining_seconds() is None


def test_the_time_a_group_takes_to_start_is_no_pace_nor_are_epochs_told_at_once() -> None:
    shown = progress()
    whole = Evaluation(id=0, config_id=0, bracket=0, rung=0, from_epoch=0, to_epoch=EPOCHS, values={}, origin="default")
    shown.take(Started(time=0.0, evaluation=whole))
    for number in range(1, 4):
        shown.take(epoch(number, at=35.0 + 0.001 * number))
        assert shown.remaining_seconds() is None
    shown.take(epoch(4, at=38.0))
    assert shown.remaining_seconds() == pytest.approx(36.0, abs=0.1)


def test_a_loss_that_is_no_number_is_left_out() -> None:
    shown = progress()
    assert shown.describe() == "long: waiting for the first epoch"
    shown.take(epoch(1, at=0.0, **{"val/loss": None, "train/segments_per_second": None}))
    assert shown.describe() == "epoch 1/40: train/loss 0.5"


def test_without_a_terminal_lines_are_ten_seconds_apart_and_the_last_epoch_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records: list[Record] = [epoch(number, at=4.0 * number) for number in range(1, EPOCHS + 1)]
    with follow(progress(), known=3) as observe:
        for number, record in enumerate(records):
            observe(record, number)
    told = [int(line.removeprefix("epoch ").split("/")[0]) for line in capsys.readouterr().err.splitlines()]
    assert told[0] > 3
    assert told[-1] == EPOCHS
    assert all(4 * (later - earlier) >= LINE_SECONDS for earlier, later in pairwise(told[:-1]))
    assert len(told) == pytest.approx(4 * EPOCHS / LINE_SECONDS, rel=0.3)
