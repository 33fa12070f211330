"""A search in the files of HpBandSter's BOHB, which DeepCAVE and hpbandster read.

    configspace.json   the space, as ``ConfigSpace.ConfigurationSpace.from_json`` reads it
    configs.json       a line per configuration: ``[id, values, info]``
    results.json       a line per evaluation: ``[id, epochs, times, {"loss", "info"}, error]``

The id is ``[bracket, 0, config_id]``. HpBandSter minimises: the loss of a score that is maximised is its negative, and
that of a failed evaluation ``Infinity``, as `json` of Python writes it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emotune.errors import SettingsError
from emotune.search.records import Ended, Evaluation, Record, Started
from emotune.study.results import last_ends, opened
from emotune.study.space import load_space

SPACE, CONFIGURATIONS, RESULTS = "configspace.json", "configs.json", "results.json"


@dataclass(frozen=True)
class DeepcaveResults:
    """The files of a search."""

    files: dict[str, str]
    """Content by name."""
    evaluations: int
    """Evaluations that have ended."""
    running: int
    """Evaluations without an end, which are left out."""


def deepcave_files(records: Sequence[Record]) -> DeepcaveResults:
    """Return the files of a search.

    Raises:
        SettingsError: The journal is that of a single run, or no evaluation has ended.
    """
    first = opened(records)
    if first.purpose != "configuration" or not first.study.get("space"):
        raise SettingsError(f"{first.name!r} is a single run or a cross-validation; give the name of a search")
    sign = 1.0 if first.study["objective"]["mode"] == "min" else -1.0
    metric = first.study["objective"]["metric"]
    starts = {record.evaluation.id: record for record in records if isinstance(record, Started)}
    ends = last_ends(records)
    configurations: dict[int, Evaluation] = {}
    results = []
    for number, start in sorted(starts.items()):
        bracket = configurations.setdefault(start.evaluation.config_id, start.evaluation).bracket
        if number in ends:
            results.append(_result(start, ends[number], bracket=bracket, metric=metric, sign=sign))
    if not results:
        raise SettingsError(f"{first.name!r} has no result yet; wait until an evaluation has ended")
    space = load_space(first.study["space"], recorded=True).to_serialized_dict()
    lines = [_configuration(evaluation) for evaluation in configurations.values()]
    files = {SPACE: json.dumps(space, indent=2) + "\n", CONFIGURATIONS: _lines(lines), RESULTS: _lines(results)}
    return DeepcaveResults(files, evaluations=len(results), running=len(starts) - len(results))


def _configuration(evaluation: Evaluation) -> list[Any]:
    info = {"model_based_pick": evaluation.origin == "model", "origin": evaluation.origin}
    return [_identity(evaluation, bracket=evaluation.bracket), evaluation.values, info]


def _result(start: Started, end: Ended, *, bracket: int, metric: str, sign: float) -> list[Any]:
    done = end.status == "done" and end.objective is not None
    times = {"submitted": start.time, "started": start.time, "finished": end.time}
    info = {"state": "SUCCESS" if done else "CRASHED", metric: end.objective, "seconds": end.seconds}
    loss = sign * end.objective if done and end.objective is not None else math.inf
    identity = _identity(start.evaluation, bracket=bracket)
    return [identity, float(start.evaluation.to_epoch), times, {"loss": loss, "info": info}, end.error]


def _identity(evaluation: Evaluation, *, bracket: int) -> list[int]:
    return [bracket, 0, evaluation.config_id]


def _lines(items: Sequence[list[Any]]) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)
