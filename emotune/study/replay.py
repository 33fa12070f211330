"""A search rebuilt from its journal."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ConfigSpace import ConfigurationSpace

from emotune.search.optimizer import Optimizer
from emotune.search.records import Ended, Evaluation, Extended, Record, Resized, Started
from emotune.search.settings import virtual_workers
from emotune.search.stopping import Change, Extension, Resize
from emotune.study.study import Study


def make_optimizer(study: Study, *, records: Sequence[Record], concurrency: int) -> Optimizer:
    """Make the search core of a study, with all decisions and results of a journal.

    The virtual time of an epoch is the number of floating-point operations of a configuration's forward pass.

    Args:
        study: The study.
        records: The journal.
        concurrency: Evaluations that run at a time.
    """

    def cost(values: dict[str, Any]) -> float:
        return study.base.with_values(values).cost()

    budget = study.budget
    return optimizer_from_records(
        study.configuration_space(),
        records,
        mode=study.objective.mode,
        settings={
            **study.searcher,
            "min_budget": budget.min,
            "max_budget": budget.max,
            "eta": budget.eta,
            "evaluations": budget.evaluations,
            "brackets": budget.bracket_limit,
            "seed": study.seed,
            "concurrency": virtual_workers(concurrency, order=study.search_settings().order),
            "earlier": study.earlier,
            "cost": cost,
        },
    )


def optimizer_from_records(
    space: ConfigurationSpace,
    records: Iterable[Record],
    *,
    mode: Literal["min", "max"] = "min",
    settings: Mapping[str, Any],
) -> Optimizer:
    """Rebuild a search from its journal.

    Args:
        space: Where is searched.
        records: The journal; what was started, ended, extended and resized counts. If something was recorded twice,
            the first record counts.
        mode: Whether the recorded objective is minimised or maximised.
        settings: Keyword arguments of `Optimizer`.

    Raises:
        DamageError: The records do not follow from the settings.
    """
    evaluations: dict[int, Evaluation] = {}
    losses: dict[int, float] = {}
    changes: list[Change] = []
    sign = 1.0 if mode == "min" else -1.0
    for record in records:
        if isinstance(record, Started):
            evaluations.setdefault(record.evaluation.id, record.evaluation)
        elif isinstance(record, Ended):
            objective = math.inf if record.objective is None else sign * record.objective
            losses.setdefault(record.evaluation_id, objective if math.isfinite(objective) else math.inf)
        elif isinstance(record, Extended):
            moved = Extension(after=len(evaluations), brackets=record.brackets, evaluations=record.evaluations)
            changes += [] if moved.limits in _limits(changes) else [moved]
        elif isinstance(record, Resized):
            changes.append(Resize(after=len(evaluations), seen=record.seen, workers=record.workers))
    optimizer = Optimizer(space, **settings)
    decisions = [evaluations[number] for number in sorted(evaluations)]
    optimizer.replay(decisions, losses=losses, changes=changes)
    return optimizer


def _limits(changes: Iterable[Change]) -> list[dict[str, int | None]]:
    return [change.limits for change in changes if isinstance(change, Extension)]
