"""Start a search or go on with one: the journal, Ray, the signals, the end."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from emotune.data.store import SegmentStore
from emotune.files import sha256_of
from emotune.search.desk import Desk, Observer
from emotune.search.folder import SearchFolder
from emotune.search.journal import Journal
from emotune.search.limits import Amount, extension
from emotune.search.optimizer import Optimizer
from emotune.search.records import Closed, Evaluation, Extended, Opened, Record
from emotune.search.replay import optimizer_from_records
from emotune.search.results import opened, search_state
from emotune.search.resumption import as_recorded, software_changes
from emotune.search.searchers import virtual_workers
from emotune.search.study import Study
from emotune.search.tune_searcher import DeskSearcher, MakeJob
from emotune.search.tuner import carry_out, cluster_cpus, connect
from emotune.trainables.evaluation import Job
from emotune.training.checkpoints import newest_checkpoint, read_state

logger = logging.getLogger(__name__)
SOFTWARE = ("emotune", "ConfigSpace", "hpbandster", "numpy", "ray", "torch")


@dataclass(frozen=True)
class RunOptions:
    """How a search is carried out; decides nothing about the results but through ``concurrency``."""

    concurrency: int | None = None
    """Evaluations at a time; by default the cluster's CPUs, and later what the search was started with."""
    purpose: Literal["configuration", "pretrain", "finetune", "fold"] = "configuration"
    """What a configuration is, for MLflow and for people."""
    measure_test: bool = False
    """Measure the test segments after the last epoch (single runs only)."""
    amounts: Mapping[str, Amount] = field(default_factory=dict)
    """``brackets`` and ``evaluations`` given beside the study; so many more extend a finished search."""
    warm_start: tuple[str, ...] = ()
    """Earlier searches whose best configurations are in the study."""


def settle(study: Study, *, store: Path, encoder: Path | None) -> Study:
    """Fill in what a study leaves to the moment: the store's fingerprint and the encoder's sizes and hash.

    Args:
        study: As read from its file.
        store: Folder of the segment store.
        encoder: Checkpoint of the pre-trained encoder, if the study starts from one.

    Raises:
        DataError: The store cannot be read, or has no labels for the task.
        SettingsError: There are too few subjects for the folds.
    """
    opened_store = SegmentStore.open(store)
    base = study.base.model_copy(update={"store": str(store.absolute()), "fingerprint": opened_store.fingerprint})
    if encoder is not None and base.start is not None:
        model = type(base.model).model_validate(read_state(encoder)["about"]["experiment"]["model"])
        start = base.start.model_copy(update={"sha256": sha256_of(encoder / "weights.safetensors")})
        base = base.model_copy(update={"start": start, "model": model})
    base.material(opened_store)
    return study.model_copy(update={"base": base})


def run_study(
    study: Study,
    folder: SearchFolder,
    *,
    options: RunOptions = RunOptions(),
    encoder: Path | None = None,
    observers: Sequence[Observer] = (),
) -> list[Record]:
    """Run a search to its end, going on where an earlier driver stopped.

    Args:
        study: The study, settled.
        folder: Where the search lies or shall lie.
        options: How to carry it out.
        encoder: Checkpoint of the pre-trained encoder, if the study starts from one.
        observers: Who follows the search.

    Returns:
        All records of the journal.

    Raises:
        BusyError: Another driver is alive on the search.
        StudyChangedError: The search was started from another study.
        SettingsError: It is to be extended by what it does not count.
        DamageError: The journal is not what was written.
        SearchFailedError: Too many evaluations failed in the same way, or none gave a result.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with Journal.open(folder.journal, owner=folder.name) as journal:
        folder.check_complete(journal.records)
        if journal.records:
            study = as_recorded(study, journal.records, amounts=options.amounts, warm_start=options.warm_start)
            _extend(journal, study, options)
            _warn_of_other_software(journal.records)
        folder.stop_request.unlink(missing_ok=True)
        if search_state(journal.records, alive=False) != "finished":
            connect(options.concurrency)
            _open(journal, study, folder, options=options)
        optimizer = make_optimizer(study, records=journal.records, concurrency=opened(journal.records).concurrency)
        desk = Desk(optimizer, journal=journal, aim=study.objective, observers=observers)
        if search_state(journal.records, alive=False) != "finished":
            job_maker = _job_maker(study, folder, encoder=_keep_encoder(encoder, folder), options=options)
            _search(desk, job_maker, folder, concurrency=options.concurrency or opened(journal.records).concurrency)
        return list(journal.records)


def _extend(journal: Journal, study: Study, options: RunOptions) -> None:
    """Move the end of a finished search, if that is asked for; one that is not finished goes on first."""
    more = {name: amount for name, amount in options.amounts.items() if amount.more}
    if not more:
        return
    if search_state(journal.records, alive=False) != "finished":
        logger.warning("the search is not finished: it goes on, and what is beyond its end can be asked for then")
        return
    optimizer = make_optimizer(study, records=journal.records, concurrency=opened(journal.records).concurrency)
    moved = extension(optimizer.settings, made=len(optimizer.results()), **more)
    optimizer.extend(**moved.limits)
    journal.append(Extended(time=time.time(), brackets=moved.brackets, evaluations=moved.evaluations))


def _open(journal: Journal, study: Study, folder: SearchFolder, *, options: RunOptions) -> None:
    if journal.records:
        return
    journal.append(
        Opened(
            time=time.time(),
            name=folder.name,
            purpose=options.purpose,
            study=study.as_document(),
            digest=study.digest(),
            seed=study.seed,
            concurrency=options.concurrency or cluster_cpus(),
            warm_start=options.warm_start,
            software=_software(),
        )
    )


def _software() -> dict[str, str]:
    return {name: version(name) for name in SOFTWARE}


def _warn_of_other_software(records: Sequence[Record]) -> None:
    changes = software_changes(opened(records), now=_software())
    if changes is not None and search_state(records, alive=False) != "finished":
        logger.warning("%s", changes)


def make_optimizer(study: Study, *, records: Sequence[Record], concurrency: int) -> Optimizer:
    """Make the search core of a study, with all that a journal holds told to it.

    Virtual time goes by the floating-point operations of a configuration's forward pass.
    """

    def cost(values: dict[str, Any]) -> float:
        return study.base.with_values(values).model.flops(channels=1, samples=1280)

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


def _keep_encoder(encoder: Path | None, folder: SearchFolder) -> Path | None:
    """Copy the pre-trained encoder beside the search, so that it can go on whatever becomes of the original."""
    if encoder is None:
        return None
    kept = folder.encoder / encoder.name
    if not kept.exists():
        draft = folder.encoder.with_name(".encoder.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(encoder, draft / encoder.name)
        shutil.rmtree(folder.encoder, ignore_errors=True)
        draft.rename(folder.encoder)
    return kept


def kept_encoder(folder: SearchFolder) -> Path | None:
    """Return the copy of the pre-trained encoder that a search has made, if any."""
    return newest_checkpoint(folder.encoder)


def _job_maker(study: Study, folder: SearchFolder, *, encoder: Path | None, options: RunOptions) -> MakeJob:
    def make_job(evaluation: Evaluation) -> Job:
        return Job(
            evaluation_id=evaluation.id,
            config_id=evaluation.config_id,
            from_epoch=evaluation.from_epoch,
            to_epoch=evaluation.to_epoch,
            experiment=study.base.with_values(evaluation.values),
            checkpoints=folder.checkpoints(evaluation.config_id),
            encoder=encoder,
            measure_test=options.measure_test,
        )

    return make_job


def _search(desk: Desk, make_job: MakeJob, folder: SearchFolder, *, concurrency: int) -> None:
    searcher = DeskSearcher(desk, make_job=make_job, concurrency=concurrency, stop_requested=folder.stop_request.exists)
    received = carry_out(searcher)
    if searcher.failure is not None:
        desk.close(Closed(time=time.time(), state="failed", reason=str(searcher.failure)))
        raise searcher.failure
    finished = desk.optimizer.finished and not desk.out
    reason = "" if received is None or finished else received.name
    desk.close(Closed(time=time.time(), state="finished" if finished else "interrupted", reason=reason))
