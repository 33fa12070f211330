"""The report of a trial's step to the driver, and its encoding in Tune's result."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emotune.search.records import Failure
from emotune.training.epoch_report import EpochReport

RESULT_KEY = "step_report"
"""Key of the report in the result of a Tune step."""


@dataclass(frozen=True)
class StepReport:
    """What a worker, or the first worker of a group, reports to the driver after a step.

    An idle worker reports nothing but ``finished``.
    """

    reports: tuple[EpochReport, ...] = ()
    """Epochs that are done, each reported once."""
    saved: tuple[int, int] | None = None
    """Position of the newest checkpoint: epochs, and optimiser steps of the next epoch."""
    finished: bool = False
    """Whether the evaluation has reached its last epoch."""
    failure: Failure | None = None
    """Why the evaluation ended without a result."""
    ends_worker: bool = False
    """Whether the worker process ends after this failure; it raises its exception in the next step."""
    note: str | None = None
    """A message for the user."""
    inaccessible: str | None = None
    """What this machine cannot access, so that the evaluation cannot begin here."""

    @property
    def ended(self) -> bool:
        """Whether the evaluation has ended, with or without a result."""
        return self.finished or self.failure is not None

    @classmethod
    def merged(cls, reports: Sequence["StepReport"]) -> "StepReport":
        """Return one report of several successive ones of the same evaluation."""
        return cls(
            reports=tuple(epoch for report in reports for epoch in report.reports),
            saved=reports[-1].saved if reports else None,
            finished=any(report.finished for report in reports),
            failure=next((report.failure for report in reports if report.failure is not None), None),
        )

    def to_result(self) -> dict[str, Any]:
        """Return the report as a result of a Tune step, in plain values."""
        content = asdict(self) | {"failure": None if self.failure is None else self.failure.model_dump()}
        return {RESULT_KEY: content}

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> "StepReport":
        """Return the report in a result of a Tune step, to which Tune adds entries of its own."""
        content = dict(result[RESULT_KEY])
        failure, saved = content["failure"], content["saved"]
        return cls(
            **content
            | {
                "reports": tuple(EpochReport(**epoch) for epoch in content["reports"]),
                "saved": None if saved is None else tuple(saved),
                "failure": None if failure is None else Failure.model_validate(failure),
            }
        )
