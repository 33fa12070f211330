"""What a search was estimated to take after its first epochs, beside what it took."""

from collections.abc import Sequence
from typing import Any

from emotune.durations import duration
from emotune.report.costs import price
from emotune.search.records import EpochDone, Record
from emotune.study.first_estimate import read_estimate
from emotune.study.folder import SearchFolder
from emotune.study.results import running_seconds

Document = dict[str, Any]


def estimate_document(records: Sequence[Record], *, folder: SearchFolder | None) -> Document | None:
    """Return the estimate of a search, and its running time and epochs so far; None if no estimate was kept."""
    estimate = None if folder is None else read_estimate(folder.storage)
    if estimate is None:
        return None
    epochs = sum(isinstance(record, EpochDone) for record in records)
    return estimate.model_dump() | {"running_s": running_seconds(records), "trained_epochs": epochs}


def estimate_rows(content: Document) -> list[Document]:
    """Return the rows of the table ``what``, ``estimated``, ``actual`` of a page; none without an estimate."""
    estimate, cost, timeline = content["estimate"], content["cost"], content["timeline"]
    if estimate is None:
        return []
    slots = timeline["busy_s"] + timeline["failed_s"] + timeline["idle_s"]
    hours = [
        seconds * cost["per_evaluation"] / 3600 for seconds in (estimate["seconds"] * content["concurrency"], slots)
    ]
    rows = [
        ("evaluations", estimate["evaluations"], content["evaluations"]),
        ("epochs", estimate["epochs"], estimate["trained_epochs"]),
        ("running time", duration(estimate["seconds"]), duration(estimate["running_s"])),
        (f"{cost['unit']}-hours of all workers, idle time included", *(f"{number:.3g}" for number in hours)),
    ]
    if cost["price_per_hour"] is not None:
        rows.append(("price of these hours", *(price(number, per_hour=cost["price_per_hour"]) for number in hours)))
    return [dict(zip(("what", "estimated", "actual"), row, strict=True)) for row in rows]
