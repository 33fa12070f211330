"""Start a search or go on with one: the journal, Ray, the signals, the end."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from emotune.data.batches import check_shares
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.experiment import Experiment, Start
from emotune.files import sha256_of
from emotune.runtime.cluster.access_check import muster
from emotune.runtime.cluster.capacity import Seating, choose_seating, connect_places
from emotune.runtime.cluster.gpu_sharing import TrialsPerGpu
from emotune.runtime.cluster.visibility import Requirements
from emotune.runtime.coordinator import Coordinator, Observer
from emotune.runtime.group import GroupTrainable
from emotune.runtime.tune_adapter import CoordinatorSearcher, MakeJob
from emotune.runtime.tuner import carry_out
from emotune.runtime.worker import EvaluationTrainable, Job
from emotune.search.optimizer import Optimizer
from emotune.search.records import Closed, Evaluation, Extended, Opened, Record
from emotune.search.settings import virtual_workers
from emotune.search.stopping import Amount, extension
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.study.results import opened, search_state
from emotune.study.resume import as_recorded, optimizer_from_records, software_changes
from emotune.study.study import Study
from emotune.training.checkpoints import MANIFEST, newest_checkpoint, read_state, share_checkpoint

logger = logging.getLogger(__name__)
Encoders = Mapping[str, Path]
"""Checkpoints of pre-trained encoders: ``encoder``, and ``second`` for the second half of the folds."""
SOFTWARE = ("emotune", "ConfigSpace", "hpbandster", "numpy", "ray", "torch")


@dataclass(frozen=True)
class RunOptions:
    """How a search is carried out; decides nothing about the results but through ``concurrency``."""

    concurrency: int | None = None
    """Evaluations at a time; by default as many as the cluster has room for, now and whenever it changes."""
    purpose: Literal["configuration", "pretrain", "finetune", "fold"] = "configuration"
    """What a configuration is, for MLflow and for people."""
    measure_test: bool = False
    """Measure the test segments after the last epoch (single runs only)."""
    amounts: Mapping[str, Amount] = field(default_factory=dict)
    """``brackets`` and ``evaluations`` given beside the study; so many more extend a finished search."""
    warm_start: tuple[str, ...] = ()
    """Earlier searches whose best configurations are in the study."""
    workers: tuple[int, int] | None = None
    """Fewest and most workers that share an evaluation, as a Ray Train group; None: one, without a group."""
    trials_per_gpu: TrialsPerGpu = 1
    """Evaluations that share a GPU, where the cluster has GPUs and an evaluation has one worker."""


def settle(study: Study, *, store: Path, encoders: Encoders) -> Study:
    """Fill in what a study leaves to the moment: the stores' fingerprints, the encoders' sizes and hashes.

    Args:
        study: As read from its file.
        store: Folder of the segment store.
        encoders: Checkpoints of the pre-trained encoders, if the study starts from any.

    Raises:
        DataError: The store cannot be read, or has no labels for the task.
        SettingsError: There are too few subjects for the folds, or the two encoders have other sizes.
    """
    opened_store = SegmentStore.open(store)
    base = study.base.model_copy(update={"store": str(store.absolute()), "fingerprint": opened_store.fingerprint})
    if base.partner:
        partner = Path(base.partner).absolute()
        known = {"partner": str(partner), "partner_fingerprint": SegmentStore.open(partner).fingerprint}
        base = base.model_copy(update=known)
    if encoders and base.start is not None:
        base = _with_encoders(base, base.start, encoders=encoders)
    base.training_data(opened_store)
    return study.model_copy(update={"base": base})


def _with_encoders(base: Experiment, start: Start, *, encoders: Encoders) -> Experiment:
    models = {name: read_state(path)["about"]["experiment"]["model"] for name, path in encoders.items()}
    if any(model != models["encoder"] for model in models.values()):
        raise SettingsError(f"the encoders {start.encoder} and {start.second} have other sizes; give two of one kind")
    hashes = {name: sha256_of(path / "weights.safetensors") for name, path in encoders.items()}
    started = start.model_copy(update={"sha256": hashes["encoder"], "second_sha256": hashes.get("second")})
    content = base.model_dump(mode="json") | {"start": started.model_dump(mode="json"), "model": models["encoder"]}
    return Experiment.model_validate(content)


def check_workers(study: Study, *, workers: int) -> None:
    """Refuse more workers per evaluation than a batch has segments.

    Args:
        study: The study, settled.
        workers: The most workers that may share an evaluation.

    Raises:
        SettingsError: There are more.
    """
    rows = study.base.training_data(SegmentStore.open(Path(study.base.store))).fold.train
    check_shares(len(rows), study.base.batch_size, workers=workers)


def run_study(
    study: Study,
    folder: SearchFolder,
    *,
    options: RunOptions = RunOptions(),
    encoders: Encoders = MappingProxyType({}),
    observers: Sequence[Observer] = (),
) -> list[Record]:
    """Run a search to its end, going on where an earlier driver stopped.

    Args:
        study: The study, settled.
        folder: Where the search lies or shall lie.
        options: How to carry it out.
        encoders: Checkpoints of the pre-trained encoders, if the study starts from any.
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
        folder.forget_stop()
        places = requirements = None
        if search_state(journal.records, alive=False) != "finished":
            places = connect_places(
                study.base, trials=options.concurrency, workers=options.workers, trials_per_gpu=options.trials_per_gpu
            )
            requirements = muster(folder, study.base)
            _open(journal, study, folder, options=options, places=places().number)
        optimizer = make_optimizer(study, records=journal.records, concurrency=opened(journal.records).concurrency)
        coordinator = Coordinator(optimizer, journal=journal, aim=study.objective, observers=observers)
        if places is not None and search_state(journal.records, alive=False) != "finished":
            kept = _keep_encoders(encoders, folder)
            job_maker = _job_maker(study, folder, kept=kept, options=options, requirements=requirements)
            seating = choose_seating(journal.records, options.concurrency, places=places)
            _search(coordinator, job_maker, folder, seating=seating)
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


def _open(journal: Journal, study: Study, folder: SearchFolder, *, options: RunOptions, places: int) -> None:
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
            concurrency=options.concurrency or places,
            elastic=options.concurrency is None,
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


def _keep_encoders(encoders: Encoders, folder: SearchFolder) -> dict[str, Storage]:
    """Copy the pre-trained encoders beside the search, so that it can go on whatever becomes of the originals."""
    return {name: _keep(path, folder.kept_encoder(name)) for name, path in encoders.items()}


def _keep(encoder: Path, folder: Storage) -> Storage:
    place = folder.local()
    kept = place / encoder.name
    if not (kept.exists() and (kept / MANIFEST).read_bytes() == (encoder / MANIFEST).read_bytes()):
        draft = place.with_name(f".{place.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(encoder, draft / encoder.name)
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
    share_checkpoint(folder / encoder.name)
    return folder / encoder.name


def kept_encoders(folder: SearchFolder) -> Encoders:
    """Return the copies of the pre-trained encoders that a search has made."""
    found = {name: newest_checkpoint(folder.kept_encoder(name)) for name in ("encoder", "second")}
    return {name: path for name, path in found.items() if path is not None}


def _job_maker(
    study: Study,
    folder: SearchFolder,
    *,
    kept: Mapping[str, Storage],
    options: RunOptions,
    requirements: Requirements | None,
) -> MakeJob:
    def make_job(evaluation: Evaluation) -> Job:
        experiment = study.base.with_values(evaluation.values)
        start = experiment.start
        return Job(
            evaluation_id=evaluation.id,
            config_id=evaluation.config_id,
            from_epoch=evaluation.from_epoch,
            to_epoch=evaluation.to_epoch,
            experiment=experiment,
            checkpoints=folder.checkpoints(evaluation.config_id),
            encoder=None if start is None else kept.get(start.which(experiment.folds)),
            measure_test=options.measure_test,
            workers=options.workers,
            requirements=requirements,
        )

    return make_job


def _search(coordinator: Coordinator, make_job: MakeJob, folder: SearchFolder, *, seating: Seating) -> None:
    if seating.elastic:
        coordinator.resize(seating.number)
    searcher = CoordinatorSearcher(
        coordinator,
        make_job=make_job,
        concurrency=seating.number,
        stop_requested=folder.stop_watch(),
        places=seating.places,
    )
    trainable = EvaluationTrainable if seating.takes else GroupTrainable
    received = carry_out(searcher, trainable=trainable, takes=seating.takes)
    if searcher.failure is not None:
        coordinator.close(Closed(time=time.time(), state="failed", reason=str(searcher.failure)))
        raise searcher.failure
    finished = coordinator.optimizer.finished and not coordinator.out
    reason = "" if received is None or finished else received.name
    coordinator.close(Closed(time=time.time(), state="finished" if finished else "interrupted", reason=reason))
