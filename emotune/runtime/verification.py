"""Train a configuration of a search again, from its record alone, and compare each epoch with the recorded one."""

import contextlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from emotune.base import Settings
from emotune.errors import SettingsError, TrainingDivergedError
from emotune.runtime.driver import installed_software
from emotune.runtime.worker import Job, Worker
from emotune.search.records import EpochDone, Record
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.initial_encoders import copied_encoders
from emotune.study.results import evaluation_results, find_best, opened
from emotune.study.resume import software_changes
from emotune.study.study import Study
from emotune.training.loop import never_pause

COMPARED = ("train/loss", "val/", "test/", "kept/")
"""Beginnings of the names of metrics that a training decides; others are of the machine, such as speed."""

Metrics = Mapping[str, float | None]


class Verification(Settings):
    """The comparison of a training with its record."""

    name: str
    """Name of the search."""
    config_id: int
    epochs: int
    """Epochs that were trained again."""
    metric: str
    """Metric that the search optimised."""
    recorded: float | None
    """Its recorded value after these epochs."""
    repeated: float | None
    """Its value now."""
    fingerprint: str
    """Fingerprint of the segments, which is the recorded one."""
    software: str | None
    """Line with the packages whose version has changed; None: none has."""
    first_difference: int | None
    """First epoch in which a metric differs in any digit; None: no epoch does."""

    @property
    def equal(self) -> bool:
        """Whether every metric of every epoch is equal to the last digit."""
        return self.first_difference is None

    @property
    def difference(self) -> float:
        """Relative difference of the objective after the last epoch; infinite if only one of the two is finite."""
        if self.recorded is None or self.repeated is None:
            return 0.0 if self.recorded is self.repeated else math.inf
        return abs(self.repeated - self.recorded) / (abs(self.recorded) or 1.0)


def recorded_epochs(records: Sequence[Record], config_id: int) -> dict[int, Metrics]:
    """Return the recorded metrics of a configuration by epoch."""
    return {
        record.epoch: record.metrics
        for record in records
        if isinstance(record, EpochDone) and record.config_id == config_id
    }


def choose_configuration(records: Sequence[Record], config_id: int | None) -> tuple[int, int]:
    """Return a configuration and its epochs up to its last result.

    Args:
        records: The journal.
        config_id: The configuration; None: the best one.

    Raises:
        SettingsError: It has no result.
    """
    name, mode = opened(records).name, opened(records).study["objective"]["mode"]
    done = [result for result in evaluation_results(records) if result.status == "done"]
    if config_id is None:
        best = find_best(done, mode=mode)
        if best is None:
            raise SettingsError(f"the search {name!r} has no result yet; wait until an evaluation has ended")
        return best.config_id, best.epochs
    epochs = [result.evaluation.to_epoch for result in done if result.evaluation.config_id == config_id]
    if not epochs:
        known = sorted({result.evaluation.config_id for result in done})
        raise SettingsError(
            f"--configuration {config_id}: the search {name!r} has no result of it; it has results of "
            f"{', '.join(map(str, known[:10])) or 'none'}{' and others' if len(known) > 10 else ''}"
        )
    return config_id, max(epochs)


def repeat(
    study: Study, records: Sequence[Record], folder: SearchFolder, *, config_id: int, epochs: int
) -> Verification:
    """Train a configuration again on this machine, without Ray, and compare it with its record.

    Args:
        study: The recorded study; the path of its store may be another one.
        records: The journal.
        folder: Folder of the search, with the encoder that it starts from. Nothing is written there.
        config_id: The configuration.
        epochs: Epochs to train, at most the recorded ones.

    Raises:
        DataError: The store has other segments than the recorded one.
    """
    values = next(
        result.evaluation.values for result in evaluation_results(records) if result.evaluation.config_id == config_id
    )
    experiment = study.base.with_values(values)
    encoder = None
    if experiment.start is not None:
        which = experiment.start.which(experiment.folds)
        checkpoint = copied_encoders(folder).get(which)
        encoder = None if checkpoint is None else folder.kept_encoder(which) / checkpoint.name
    first = opened(records)
    with tempfile.TemporaryDirectory(prefix="emotune-verify-") as scratch:
        job = Job(
            evaluation_id=0, config_id=config_id, from_epoch=0, to_epoch=epochs, experiment=experiment,
            checkpoints=LocalStorage(Path(scratch)), encoder=encoder, measure_test=first.purpose == "finetune",
        )  # fmt: skip
        worker = Worker(job)
        with contextlib.suppress(TrainingDivergedError):  # the epochs before it are compared
            worker.work(never_pause)
        repeated: dict[int, Metrics] = {report.epoch: report.metrics for report in worker.state.history}
        fingerprint = worker.training_data.store.fingerprint
    recorded = {epoch: metrics for epoch, metrics in recorded_epochs(records, config_id).items() if epoch <= epochs}
    metric = study.objective.metric
    return Verification(
        name=first.name,
        config_id=config_id,
        epochs=epochs,
        metric=metric,
        recorded=recorded.get(epochs, {}).get(metric),
        repeated=_finite(repeated.get(epochs, {}).get(metric)),
        fingerprint=fingerprint,
        software=software_changes(first, now=installed_software()),
        first_difference=first_difference(recorded, repeated),
    )


def first_difference(recorded: Mapping[int, Metrics], repeated: Mapping[int, Metrics]) -> int | None:
    """Return the first epoch in which a metric of `COMPARED` differs in any digit; None: no epoch does.

    A metric that only one of the two has, because another version measured more, is not compared.
    """
    for epoch in sorted(recorded.keys() | repeated.keys()):
        if epoch not in recorded or epoch not in repeated:
            return epoch
        before, now = recorded[epoch], repeated[epoch]
        names = [name for name in before.keys() & now.keys() if name.startswith(COMPARED)]
        if any(_finite(before[name]) != _finite(now[name]) for name in names):
            return epoch
    return None


def _finite(value: float | None) -> float | None:
    """Return a number, or None for one that is not finite, as a journal records it."""
    return value if value is not None and math.isfinite(value) else None
