"""What a search cost: the time of its evaluations, when they ran, and what early stopping saved."""

import dataclasses
import heapq
import itertools
from collections.abc import Sequence
from typing import Literal

from emotune.base import Settings
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Record, Resized, Retried, Started
from emotune.study.results import evaluation_results, opened

SECONDS_PER_HOUR = 3600.0

GPU_METRIC = "system/gpu_memory_gib"
"""Metric that epochs on a GPU have."""


class Bar(Settings):
    """A span of time in which an evaluation had a worker."""

    lane: int
    """Worker, counted from 0. The journal has no names of workers: spans are put on the first free lane."""
    evaluation_id: int
    config_id: int
    begin: float
    """Seconds since the first record."""
    end: float
    status: Literal["done", "failed", "running"]


class Timeline(Settings):
    """When workers were busy and idle."""

    bars: tuple[Bar, ...]
    lanes: int
    busy_s: float
    """Sum of the bars of evaluations that are done or run."""
    failed_s: float
    """Sum of the bars of evaluations that failed."""
    idle_s: float
    """Slots times the time in which a driver ran, minus the bars."""


class Cost(Settings):
    """The time of all evaluations that have ended. ``used_s + diverged_s + lost_s == spent_s``."""

    unit: Literal["GPU", "CPU"]
    per_evaluation: float
    """GPUs or CPUs of one evaluation; hours are seconds times this over 3600."""
    spent_s: float
    """Sum of ``seconds`` over all records of an end."""
    used_s: float
    """That of the evaluations with a result."""
    diverged_s: float
    """That of the evaluations whose loss was not finite: the configuration's fault."""
    lost_s: float
    """That of the evaluations that failed for another reason."""
    full_s: float
    """Estimate of training all configurations with a result to the largest budget, at their own speed."""
    epochs: int
    """Trained epochs of the evaluations with a result."""
    full_epochs: int
    """Epochs of training the same configurations to the largest budget."""

    @property
    def saved_s(self) -> float:
        """What early stopping saved: ``full_s - used_s``."""
        return self.full_s - self.used_s

    def hours(self, seconds: float) -> float:
        """Return GPU- or CPU-hours."""
        return seconds * self.per_evaluation / SECONDS_PER_HOUR


def price(hours: float, *, per_hour: float) -> str:
    """Return the price of GPU- or CPU-hours as text, in the currency of ``per_hour``."""
    return f"{hours * per_hour:,.2f}"


def share_of_evaluation(*, on_gpu: bool, threads: int, trials_per_gpu: int = 1) -> tuple[Literal["GPU", "CPU"], float]:
    """Return what an evaluation occupies: the unit, and how many GPUs or CPUs."""
    return ("GPU", 1 / trials_per_gpu) if on_gpu else ("CPU", float(threads))


def cost_of(records: Sequence[Record], *, trials_per_gpu: int = 1) -> Cost:
    """Return what a search cost.

    An evaluation that was repeated after a fault and then finished counts as used: its record has the time of all
    attempts. Evaluations without an end are not counted.

    Args:
        records: The journal.
        trials_per_gpu: Evaluations that share a GPU.
    """
    ends = [record for record in records if isinstance(record, Ended)]
    failed = [end for end in ends if end.status == "failed"]
    diverged = sum((end.seconds for end in failed if end.failure_kind == "diverged"), start=0.0)
    spent = sum((end.seconds for end in ends), start=0.0)
    lost = sum((end.seconds for end in failed if end.failure_kind != "diverged"), start=0.0)
    seconds, epochs = _trained(records)
    largest = int(opened(records).study.get("budget", {}).get("max", 0))
    full = {config: max(largest, epochs[config]) for config in epochs}
    on_gpu = any(GPU_METRIC in record.metrics for record in records if isinstance(record, EpochDone))
    compute = opened(records).study.get("base", {}).get("compute", {})
    threads = compute.get("threads") or 1
    unit, per_evaluation = share_of_evaluation(on_gpu=on_gpu, threads=threads, trials_per_gpu=trials_per_gpu)
    return Cost(
        unit=unit,
        per_evaluation=per_evaluation,
        spent_s=spent,
        used_s=sum((end.seconds for end in ends if end.status == "done"), start=0.0),
        diverged_s=diverged,
        lost_s=lost,
        full_s=sum((seconds[config] * full[config] / epochs[config] for config in epochs), start=0.0),
        epochs=sum(epochs.values()),
        full_epochs=sum(full.values()),
    )


def _trained(records: Sequence[Record]) -> tuple[dict[int, float], dict[int, int]]:
    """Return seconds and epochs of the evaluations with a result, by configuration."""
    seconds: dict[int, float] = {}
    epochs: dict[int, int] = {}
    for result in evaluation_results(records):
        if result.status != "done":
            continue
        config = result.evaluation.config_id
        seconds[config] = seconds.get(config, 0.0) + (result.seconds or 0.0)
        epochs[config] = epochs.get(config, 0) + result.evaluation.to_epoch - result.evaluation.from_epoch
    return seconds, epochs


@dataclasses.dataclass
class _Span:
    """A span of time of an evaluation, not yet on a lane."""

    evaluation: Evaluation
    begin: float
    end: float
    status: Literal["done", "failed", "running"]


def timeline_of(records: Sequence[Record]) -> Timeline:
    """Return when evaluations had a worker, from the times of the records.

    An evaluation has a worker from its start to its end, except while no driver ran: from a record that the search was
    closed to the next record.
    """
    first = opened(records).time
    spans = sorted(_spans(records), key=lambda span: (span.begin, span.evaluation.id))
    free: list[int] = []
    ends: list[tuple[float, int]] = []
    bars: list[Bar] = []
    lanes = 0
    for span in spans:
        while ends and ends[0][0] <= span.begin:
            heapq.heappush(free, heapq.heappop(ends)[1])
        if not free:
            heapq.heappush(free, lanes)
            lanes += 1
        lane = heapq.heappop(free)
        heapq.heappush(ends, (span.end, lane))
        bar = Bar(
            lane=lane, evaluation_id=span.evaluation.id, config_id=span.evaluation.config_id,
            begin=round(span.begin - first, 3), end=round(span.end - first, 3), status=span.status,
        )  # fmt: skip
        bars.append(bar)
    failed = sum((bar.end - bar.begin for bar in bars if bar.status == "failed"), start=0.0)
    busy = sum((bar.end - bar.begin for bar in bars), start=0.0) - failed
    return Timeline(
        bars=tuple(bars),
        lanes=lanes,
        busy_s=busy,
        failed_s=failed,
        idle_s=max(0.0, _slot_seconds(records) - busy - failed),
    )


def _spans(records: Sequence[Record]) -> list[_Span]:
    """Return the spans of all evaluations, cut where no driver ran."""
    running = _RunningEvaluations()
    for record in records:
        running.process(record)
    for number, begin in running.begins.items():
        span = _Span(running.evaluations[number], begin, max(begin, records[-1].time), "running")
        running.spans.append(span)
    return running.spans


class _RunningEvaluations:
    """The evaluations that have a worker, record by record, and the spans that have ended."""

    def __init__(self) -> None:
        self.spans: list[_Span] = []
        self.evaluations: dict[int, Evaluation] = {}
        self.begins: dict[int, float] = {}
        self._paused: list[int] = []

    def process(self, record: Record) -> None:
        """Read the next record."""
        if isinstance(record, Closed):
            self._pause(record.time)
            return
        self.begins |= dict.fromkeys(self._paused, record.time)
        self._paused = []
        if isinstance(record, Started):
            self.evaluations[record.evaluation.id] = record.evaluation
            self.begins[record.evaluation.id] = record.time
        elif isinstance(record, Retried):
            self.begins |= dict.fromkeys(record.evaluations, record.time)
        elif isinstance(record, Ended):
            self._end(record)

    def _end(self, record: Ended) -> None:
        evaluation = self.evaluations.get(record.evaluation_id)
        if evaluation is not None:
            begin = self.begins.pop(evaluation.id, record.time - record.seconds)
            self.spans.append(_Span(evaluation, begin, max(begin, record.time), record.status))

    def _pause(self, time: float) -> None:
        """End all spans: the driver has ended. They begin again with the next record."""
        self.spans += [
            _Span(self.evaluations[number], begin, max(begin, time), "running") for number, begin in self.begins.items()
        ]
        self._paused += self.begins
        self.begins = {}


def _slot_seconds(records: Sequence[Record]) -> float:
    """Return the slots times the seconds in which a driver ran."""
    slots, total, clock = opened(records).concurrency, 0.0, records[0].time
    for record, following in itertools.pairwise(records):
        if isinstance(record, Resized):
            slots = record.concurrency
        passed = max(0.0, following.time - clock)  # the clock of a machine can be set back
        clock += passed
        if not isinstance(record, Closed):
            total += slots * passed
    return total
