"""The step report: what a worker reports arrives unchanged through the result of a Tune step."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from emotune.runtime.failures import RULES
from emotune.runtime.step_report import StepReport
from emotune.search.records import Failure, FailureKind
from emotune.training.epoch_report import EpochReport

TEXTS = st.none() | st.text(max_size=9)
METRICS = st.dictionaries(st.text(max_size=9), st.floats(allow_nan=False))
FIELDS = st.fixed_dictionaries(
    {
        "saved": st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)),
        "finished": st.booleans(),
        "ends_worker": st.booleans(),
        "note": TEXTS,
        "inaccessible": TEXTS,
    }
)


@given(fields=FIELDS, metrics=st.lists(METRICS, max_size=3), kind=st.none() | st.sampled_from(sorted(RULES)))
def test_a_report_is_the_same_after_encoding_and_decoding(
    fields: dict[str, Any], metrics: list[dict[str, float]], kind: FailureKind | None
) -> None:
    report = StepReport(
        reports=tuple(EpochReport(number, values) for number, values in enumerate(metrics, start=1)),
        failure=None if kind is None else Failure(kind=kind, message="boom"),
        **fields,
    )
    result = report.to_result() | {"training_iteration": 3, "pid": 1}
    assert StepReport.from_result(result) == report


def test_losses_that_are_not_finite_are_kept() -> None:
    report = StepReport(reports=(EpochReport(1, {"val/loss": math.nan}),))
    (epoch,) = StepReport.from_result(report.to_result()).reports
    assert math.isnan(epoch.metrics["val/loss"])


def test_merged_reports_have_all_epochs_the_newest_checkpoint_and_the_end() -> None:
    first = StepReport(reports=(EpochReport(1, {}),), saved=(0, 5))
    second = StepReport(reports=(EpochReport(2, {}), EpochReport(3, {})), saved=(3, 0), finished=True)
    merged = StepReport.merged([first, second])
    assert merged == StepReport(reports=first.reports + second.reports, saved=(3, 0), finished=True)
    assert StepReport.merged([]) == StepReport()
    failure = Failure(kind="diverged", message="the loss is infinite")
    assert StepReport.merged([first, StepReport(failure=failure)]).failure == failure
    assert [StepReport().ended, StepReport(finished=True).ended, StepReport(failure=failure).ended] == [
        False,
        True,
        True,
    ]
