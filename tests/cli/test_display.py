"""The display of a single run: metrics of each epoch, remaining time, and at most one line per interval."""

import logging
import re
from itertools import pairwise
from typing import Any

import pytest

from emotune import waiting
from emotune.cli.actions.display import LINE_INTERVAL_S, RunDisplay, SearchDisplay, _shown_waiting, follow
from emotune.cli.actions.single_run import single_run
from emotune.cli.output import size
from emotune.durations import duration
from emotune.experiment import Experiment
from emotune.search.criteria import StudyObjective
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Record, Started
from emotune.study.bundled import find_study
from emotune.study.study import load_study

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
        line = display.update(
            epoch(number, at=20.0 * number, **{"train/peak_share": 0.347, "system/gpu_memory_gib": 3.0})
        )
    expected = "epoch 10/40: train/loss 0.5, val/loss 0.25, 1234 segments/s, 35% of the peak, about 10 min left"
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


def test_the_share_of_the_peak_is_left_out_on_a_cpu() -> None:
    display = run_display()
    line = display.update(epoch(1, at=0.0, **{"train/peak_share": 0.347}))
    assert line == "epoch 1/40: train/loss 0.5, val/loss 0.25, 1234 segments/s"


def search_display(*, epoch_s: float, epochs: int) -> tuple[SearchDisplay, list[Record]]:
    """Return a display of the study smoke, and the records of one evaluation with epochs of a duration."""
    study = load_study(
        find_study("smoke"), assignments=[f"budget.min={epochs}", f"budget.max={epochs}", "budget.brackets=9"]
    )
    values = dict(study.configuration_space().get_default_configuration())
    started = Evaluation(
        id=0, config_id=0, bracket=0, rung=0, from_epoch=0, to_epoch=epochs, values=values, origin="default"
    )
    records: list[Record] = [Started(time=0.0, evaluation=started)]
    records += [epoch(number, at=100.0 + epoch_s * number) for number in range(1, epochs + 1)]
    return SearchDisplay(study, name="small", checkpoint_bytes=2_000_000), records


def test_the_first_epochs_of_a_search_give_its_estimate_once() -> None:
    display, records = search_display(epoch_s=30.0, epochs=9)
    notices = []
    for record in records:
        display.update(record)
        notices.append(display.take_notice())
    (notice,) = [text for text in notices if text is not None]
    assert notices.index(notice) == 4, "the time before the first epoch is that of starting workers"
    total = display.amounts.epochs
    assert display.estimate is not None
    assert display.estimate.seconds == 100.0 + 30.0 * total, "from the first evaluation to the end"
    left = 30.0 * (total - 4)
    assert notice == (
        f"estimate: about {display.amounts.evaluations} evaluations, {total} epochs, {duration(left)} from now; "
        f"checkpoints take at most {size(2_000_000 * display.amounts.configurations)}"
    )


def test_a_search_of_more_than_a_day_is_announced_with_what_to_change() -> None:
    display, records = search_display(epoch_s=7200.0, epochs=9)
    for record in records[:6]:
        display.update(record)
    _, warning = str(display.take_notice()).splitlines()
    assert re.match(r"warning: this search takes about \d+ d( \d+ h)? here\. --hours 12 ends it in time;", warning)


def test_without_a_terminal_a_search_prints_how_much_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    display, records = search_display(epoch_s=30.0, epochs=9)
    with follow(display, known=0) as observe:
        for number, record in enumerate(records):
            observe(record, number)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("small: ")]
    assert 3 <= len(lines) <= 5, "at most one a minute"
    expected = rf"small: 0 of about \d+ evaluations, \d of {display.amounts.epochs} epochs, about \d+ min( \d+ s)? left"
    assert re.fullmatch(expected, lines[-1])


def test_what_is_waited_for_is_printed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    display, records = search_display(epoch_s=30.0, epochs=9)
    printing = list(waiting.logger.handlers)
    with _shown_waiting(display):
        waiting.announce("starting Ray on this machine")
        waiting.logger.handlers[0].handle(logging.makeLogRecord({"msg": "starting Ray on this machine ..."}))
    assert display.waiting_for == "starting Ray on this machine ..."
    display.update(records[0])
    assert display.waiting_for == ""
    assert waiting.logger.handlers == printing
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.04, "0.0 s"), (9.0, "9.0 s"), (9.96, "10 s"), (59.6, "1 min"), (125, "2 min 5 s"),
        (3599.7, "1 h"), (7500, "2 h 5 min"), (86400, "1 d"), (86400 * 12 + 3700, "12 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(float(seconds)) == text
