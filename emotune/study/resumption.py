"""The line that a resumed search begins with: what is done, and what is repeated."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from emotune.errors import StorageAwayError
from emotune.search.records import Record
from emotune.study.definition import SearchDefinition
from emotune.study.folder import SearchFolder
from emotune.study.preview import preview
from emotune.study.recorded import kind_of
from emotune.study.results import EvaluationResult, evaluation_results, opened, present_limits
from emotune.study.trainable_study import TrainableStudy

CHECKPOINT_NAME = re.compile(r"epoch-(\d+)(-step-\d+)?")
"""Name of a checkpoint's folder: its epochs, and the steps of the epoch that was not complete."""


def describe_resumption(records: Sequence[Record], *, folder: SearchFolder) -> str:
    """Return a line such as ``resuming first: 10 of about 24 evaluations done, 2 to repeat from epoch 3``.

    Args:
        records: The journal of the search, not empty.
        folder: Its folder; the epochs are those of the newest checkpoints in it.
    """
    results = evaluation_results(records)
    unfinished = [result for result in results if result.status == "running"]
    purpose = opened(records).purpose
    if purpose in {"pretrain", "finetune"}:
        epochs = max((_saved_epochs(result, folder=folder) for result in unfinished), default=0)
        return f"resuming {folder.name}: {epochs} of {opened(records).study['base']['epochs']} epochs done"
    failed = sum(result.status == "failed" for result in results)
    parts = [f"{len(results) - len(unfinished)} of about {_total(records)} evaluations done"]
    parts += [f"{failed} of them failed"] if failed else []
    parts += [_repetitions(unfinished, folder=folder)] if unfinished else []
    return f"resuming {folder.name}: {', '.join(parts)}"


def recorded_study(document: Mapping[str, Any]) -> SearchDefinition:
    """Return the study of a journal, of either kind."""
    if kind_of(document) == "trainable":
        return TrainableStudy.recorded(document)
    from emotune.study.study import Study  # noqa: PLC0415 (searches of a trainable do not import it)

    return Study.recorded(document)


def _total(records: Sequence[Record]) -> int:
    """Return the number of evaluations of a whole search; in an asynchronous one it depends on the results."""
    study = recorded_study(opened(records).study)
    budget = study.budget.model_copy(update=present_limits(records))
    total = len(preview(study.model_copy(update={"budget": budget})))
    return max(total, len(evaluation_results(records)))


def _repetitions(unfinished: Sequence[EvaluationResult], *, folder: SearchFolder) -> str:
    epochs = sorted({_saved_epochs(result, folder=folder) for result in unfinished})
    position = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    return f"{len(unfinished)} to repeat from {position}"


def _saved_epochs(result: EvaluationResult, *, folder: SearchFolder) -> int:
    """Return the epochs in the newest checkpoint of an evaluation's configuration; 0 without one."""
    try:
        names = folder.checkpoints(result.evaluation.config_id).folders()
    except StorageAwayError:
        return result.evaluation.from_epoch
    epochs = [int(match[1]) for name in names if (match := CHECKPOINT_NAME.fullmatch(name))]
    return min(max(epochs, default=0), result.evaluation.to_epoch)
