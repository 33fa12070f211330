"""Promises of a killed search: its history is equal to that of an undisturbed search.

A driver here is the real journal, coordinator and optimizer, with random spaces and losses in place of training. It is
killed again and again, right after it wrote one to five records, and half of the time the last one is torn at some
byte too.
"""

import math
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ConfigSpace import ConfigurationSpace
from hypothesis import event, given
from hypothesis import strategies as st

from emotune.runtime.coordinator import Coordinator
from emotune.search import Evaluation, Optimizer
from emotune.search.criteria import MINIMISED, Constraint, Criteria, StudyObjective
from emotune.search.models import gain
from emotune.search.pareto import Score
from emotune.search.records import Closed, EpochDone, Failure, Record, TimeLimit
from emotune.storage import LocalLog
from emotune.study.journal import Journal, read_journal
from emotune.study.results import evaluation_results, last_ends
from emotune.study.resume import optimizer_from_records
from tests.search.checker import Seen, seen_in_journal, seen_in_virtual_time, violations
from tests.search.searching import MIXED, documents, loss_of, space_of
from tests.support.properties import examples

KILLS = 8
"""Smallest number of kills of an example; about 50 on average. A run of all combinations below has at least 192."""

SCHEDULES = [("hyperband", "sync", "none"), ("asha", "async", "none")]
SCHEDULES += [("bohb", schedule, model) for schedule in ("sync", "async") for model in ("rungs", "gain", "hpbandster")]


class Killed(BaseException):
    """The process dies."""


@dataclass(frozen=True)
class Search:
    """A search that can be driven again and again, and in strict order ends up the same each time."""

    space: ConfigurationSpace
    options: dict[str, Any]
    failures: int
    chance: random.Random
    criteria: Criteria = MINIMISED

    def cost(self, values: dict[str, Any]) -> float:
        return 1.0 + zlib.crc32(repr(sorted(values.items())).encode()) % 5

    def drive(self, path: Path, *, records: int | None = None, hours: bool = False) -> Optimizer:
        """Resume the search; the driver dies as soon as it has written ``records`` records.

        With ``hours`` the driver begins under a limit of the running time, which is used up at some decision.
        """
        decisions = self.chance.randint(0, 6) if hours else None

        def time_is_up() -> bool:
            nonlocal decisions
            if decisions is not None and decisions:
                decisions -= 1
            return decisions == 0

        with Journal.open(LocalLog(path), owner="test") as journal:
            last = None if records is None else len(journal) + records

            def die(_: Record, number: int) -> None:
                if last is not None and number + 1 >= last:
                    raise Killed

            optimizer = optimizer_from_records(
                self.space,
                journal.records,
                criteria=self.criteria,
                settings={**self.options, "ranking": self.criteria.ranking, "cost": self.cost},
            )
            coordinator = Coordinator(
                optimizer, journal=journal, criteria=self.criteria, observers=[die], time_is_up=time_is_up
            )
            if hours:
                journal.append(TimeLimit(time=0, hours=1, used_seconds=0))
            self.work(coordinator)
            if hours:
                assert coordinator.exhausted
                coordinator.close(Closed(time=0, state="finished", reason="time limit of 1 h"))
            return optimizer

    def work(self, coordinator: Coordinator) -> None:
        out: dict[int, Evaluation] = {}
        while not coordinator.finished:
            while len(out) < coordinator.optimizer.settings.concurrency and (
                evaluation := coordinator.next_evaluation()
            ):
                out[evaluation.id] = evaluation
            if out:  # else the time was up at this decision
                self.carry_out(out.pop(self.next_to_end(out, coordinator)), coordinator)

    def next_to_end(self, out: dict[int, Evaluation], coordinator: Coordinator) -> int:
        """In strict order anyone; in free order it decides the history, and so has to be a function of it."""
        if coordinator.optimizer.settings.order == "strict":
            return self.chance.choice(sorted(out))
        return min(out, key=lambda number: zlib.crc32(b"%d" % number))

    def carry_out(self, evaluation: Evaluation, coordinator: Coordinator) -> None:
        """Report all epochs from the first one, as a worker does that found no checkpoint, or fail in one of 3 ways."""
        loss = loss_of(evaluation, failures=self.failures)
        if loss is None:
            kind = "".join("abcdefghij"[int(digit)] for digit in str(evaluation.id))
            coordinator.fail(evaluation.id, Failure(kind="program_error", message=f"broken {kind}"))
        elif loss == math.inf:
            coordinator.fail(evaluation.id, Failure(kind="diverged", message="too large"))
        else:
            for epoch in range(1, evaluation.to_epoch + 1):
                coordinator.report(evaluation.id, epoch=epoch, metrics={"val/loss": loss, **sizes_of(evaluation)})
            coordinator.complete(evaluation.id)


def sizes_of(evaluation: Evaluation) -> dict[str, float]:
    """Return two metrics that are functions of the values; one of them has many ties."""
    mark = zlib.crc32(repr(sorted(evaluation.values.items())).encode())
    return {"size": mark % 97 / 10, "steps": float(mark % 3)}


SIZE, STEPS = StudyObjective(metric="size"), StudyObjective(metric="steps", mode="max")
CRITERIA = st.sampled_from(
    [
        MINIMISED,
        Criteria((StudyObjective(), SIZE)),
        Criteria((StudyObjective(), SIZE, STEPS), {"size": Constraint(max=6)}),
        Criteria((StudyObjective(),), {"size": Constraint(min=1, max=7), "steps": Constraint(min=1)}),
    ]
)
OPTIONS = st.fixed_dictionaries(
    {
        "max_budget": st.sampled_from([3, 4]),
        "eta": st.integers(2, 3),
        "seed": st.integers(0, 99),
        "concurrency": st.integers(1, 4),
    }
)
LIMITS = st.sampled_from([{"evaluations": 20}, {"evaluations": 26}, {"brackets": 5}])


def tear(path: Path, chance: random.Random) -> None:
    """Cut off some or all bytes of the last record, as a power cut may."""
    content = path.read_bytes()
    last = len(content.splitlines(keepends=True)[-1])
    path.write_bytes(content[: len(content) - chance.randint(1, last)])


def table(records: list[Record]) -> list[tuple]:
    ends = last_ends(records)
    return [
        (one.evaluation, one.status, one.objective, one.error, ends[one.evaluation.id].measured)
        for one in evaluation_results(records)
    ]


def scores_of(records: list[Record], criteria: Criteria) -> dict[int, Score] | None:
    if not criteria.has_scores:
        return None
    ends = last_ends(records).items()
    return {number: criteria.score(end.measured) for number, end in ends if end.measured is not None}


def epochs(records: list[Record]) -> list[tuple[int, int]]:
    return sorted((one.config_id, one.epoch) for one in records if isinstance(one, EpochDone))


def seen_by(search: Search, optimizer: Optimizer, records: list[Record]) -> Seen:
    if optimizer.settings.order == "free":
        return seen_in_journal(records)
    rows = optimizer.results()
    return seen_in_virtual_time(optimizer.settings, rows, cost=lambda each: search.cost(each.values))


@pytest.fixture(autouse=True, scope="module")
def model_chooses_early() -> Iterator[None]:
    """Let the model ``gain`` choose after one full evaluation, so that short searches have its decisions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gain, "FIRST_EVALUATIONS", 1)
        yield


@pytest.mark.parametrize("order", ["strict", "free"])
@pytest.mark.parametrize(("kind", "schedule", "model"), SCHEDULES)
@examples(0.08)
@given(documents() | st.just(MIXED), OPTIONS, LIMITS, CRITERIA, st.sampled_from([0, 3, 5]), st.integers(0, 999))
def test_whatever_is_killed_and_torn_it_ends_the_same(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    schedule: str,
    model: str,
    order: str,
    document: dict[str, Any],
    options: dict[str, Any],
    limit: dict[str, Any],
    criteria: Criteria,
    failures: int,
    seed: int,
) -> None:
    options = options | limit | {"kind": kind, "schedule": schedule, "model": model, "order": order}
    chance = random.Random(seed)
    search = Search(space_of(document), options=options, criteria=criteria, failures=failures, chance=chance)
    folder = tmp_path_factory.mktemp("kills")
    whole = search.drive(folder / "whole.jsonl")
    kills = 0
    while True:
        # in free order an end of the time lets later decisions see more results
        hours = options["order"] == "strict" and search.chance.random() < 0.3
        try:
            killed = search.drive(folder / "killed.jsonl", records=search.chance.randint(1, 5), hours=hours)
            if not hours:
                break
        except Killed:
            kills += 1
            if search.chance.random() < 0.5:
                tear(folder / "killed.jsonl", search.chance)
    expected, found = read_journal(LocalLog(folder / "whole.jsonl")), read_journal(LocalLog(folder / "killed.jsonl"))
    assert table(found) == table(expected)
    assert epochs(found) == epochs(expected)
    assert len(set(epochs(found))) == len(epochs(found)), "no epoch is recorded twice"
    for optimizer, records in ((whole, expected), (killed, found)):
        seen = seen_by(search, optimizer, records)
        scores = scores_of(records, criteria)
        finished = "brackets" in limit
        assert violations(optimizer.settings, optimizer.results(), seen=seen, scores=scores, finished=finished) == []
    assert kills >= KILLS
    event("killed", payload=kills)
    event("has scores", payload=criteria.has_scores)
    event("with a model", payload=any(row.evaluation.origin == "model" for row in evaluation_results(found)))
