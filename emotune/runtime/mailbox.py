"""The mailbox between a trial and its group: jobs in one direction, step reports in the other."""

from collections import deque
from typing import NamedTuple

from emotune.runtime.step_report import StepReport


class Instruction(NamedTuple):
    """What the first worker of a group receives when it requests work."""

    job: str | None
    """The next job as JSON, if there is one."""
    stop: bool
    """Whether the group is to end."""


class MailboxContents(NamedTuple):
    """What a trial receives from its group."""

    workers: int
    """Number of workers of the group; 0 until it has requested its first job."""
    reports: list[StepReport]
    """Reports since the last collection, in order."""
    last_reports: dict[int, StepReport]
    """Last reports of workers that end with an exception, by rank."""


class Mailbox:
    """Jobs and reports of a group; runs as a Ray actor on the trial's node."""

    def __init__(self) -> None:
        self._jobs: deque[str] = deque()
        self._reports: list[StepReport] = []
        self._last_reports: dict[int, StepReport] = {}
        self._stop = False
        self._workers = 0

    def submit(self, job: str) -> None:
        """Add a job for the group, as JSON."""
        self._jobs.append(job)

    def stop(self) -> None:
        """Make the group save and end."""
        self._stop = True

    def request(self, workers: int) -> Instruction:
        """Return the next job of a group with a number of workers, or the instruction to end."""
        self._workers = workers
        return Instruction(self._jobs.popleft() if self._jobs and not self._stop else None, self._stop)

    def deliver(self, report: StepReport) -> bool:
        """Add a report of the group's first worker, and return whether the group is to save and end."""
        self._reports.append(report)
        return self._stop

    def deliver_last(self, rank: int, report: StepReport) -> None:
        """Add the last report of a worker that ends with an exception."""
        self._last_reports[rank] = report

    def collect(self) -> MailboxContents:
        """Return the reports since the last collection."""
        reports, self._reports = self._reports, []
        return MailboxContents(self._workers, reports, self._last_reports)
