"""Synthetic ECG and EEG of the same moments, and small cross-validations on them by the real code without Ray."""

import shutil
import time
from pathlib import Path

import pytest

from emotune.cli.actions.single_run import single_run
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.evaluation.crossval import PROTOCOLS, cross_validation_study
from emotune.evaluation.fusion import build_features
from emotune.experiment import Experiment
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.worker import Job, Worker
from emotune.search.criteria import StudyObjective
from emotune.search.records import Closed, Opened
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from emotune.training.loop import never_pause

MODEL = {"channels": (4, 8), "kernels": (5, 3), "feedforward": 8, "layers": 1, "attention_dropout": 0}
TASK = {"kind": "classify", "hidden": (8, 6), "dropout": 0.1}
FOLDS = {"by": "moment", "count": 3, "seed": 1, "validation": 0}


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stores")
    return {modality: make_store(folder / modality, modality=modality) for modality in ("ecg", "eeg")}


def make_store(
    path: Path, *, modality: Modality, subjects: int = 4, seconds: float = 8.0, seed: int = 0, collection: str = ""
) -> Path:
    made_up = Synthetic(subjects=subjects, seconds_per_state=seconds, seed=seed)
    options = PrepareOptions(collection=collection)
    settings = PrepareSettings(modality=modality, seconds=1.0)
    prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=made_up, options=options)
    return path


def unimodal(store: Path, **more: object) -> Experiment:
    optim = {"schedule": "step", "warmup_epochs": 0, "lr": 1e-2, "weight_decay": 0}
    settings = {"store": str(store), "model": MODEL, "task": TASK, "folds": FOLDS, "optim": optim}
    return Experiment.model_validate({**settings, "epochs": 1, "batch_size": 32, **more})


def cross_validate(
    experiment: Experiment,
    folder: SearchFolder,
    *,
    finish: bool = True,
    single: bool = False,
    shuffled: bool = False,
) -> None:
    """Train all folds, or the one of a fine-tuning, and write journal and checkpoints as a search does."""
    study = (
        single_run(experiment, objective=StudyObjective(metric="train/loss"))
        if single
        else folds_of(experiment, shuffled=shuffled)
    )
    folder.path.mkdir(parents=True)
    with Journal.open(folder.journal, owner="test") as journal:
        journal.append(
            Opened(
                time=0,
                name=folder.name,
                purpose="finetune" if single else "fold",
                study=study.as_document(),
                digest=study.digest(),
                seed=0,
                concurrency=1,
                software={},
            )
        )
        coordinator = Coordinator(
            make_optimizer(study, records=journal.records, concurrency=1), journal=journal, criteria=study.criteria
        )
        while (evaluation := coordinator.next_evaluation()) is not None:
            job = Job(
                evaluation_id=evaluation.id,
                config_id=evaluation.config_id,
                from_epoch=0,
                to_epoch=evaluation.to_epoch,
                experiment=study.base.with_values(evaluation.values),
                checkpoints=folder.checkpoints(evaluation.config_id),
                measure_test=True,
            )
            for report in Worker(job).work(never_pause):
                coordinator.report(evaluation.id, epoch=report.epoch, metrics=report.metrics)
            coordinator.complete(evaluation.id)
        coordinator.close(Closed(time=time.time(), state="finished" if finish else "interrupted"))


def folds_of(experiment: Experiment, *, shuffled: bool) -> Study:
    """Return the study of a cross-validation, but with the validation share of the experiment."""
    if experiment.folds.test is not None:
        return cross_validation_study(experiment, protocol="people", folds=None, shuffled=shuffled)
    by, count = experiment.folds.by, experiment.folds.count
    protocol = next(name for name, protocol in PROTOCOLS.items() if protocol.by == by)
    study = cross_validation_study(experiment, protocol=protocol, folds=count, shuffled=shuffled)
    return study.model_copy(update={"base": experiment})


@pytest.fixture(scope="session")
def pair(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchFolder, SearchFolder]:
    """Finished cross-validations of three folds, the ECG's with shuffled labels too.

    The ECG's have six last hidden units, the EEG's four.
    """
    storage = tmp_path_factory.mktemp("results")
    ecg, eeg = (SearchFolder.of(name, storage=LocalStorage(storage)) for name in ("ecg-cv", "eeg-cv"))
    cross_validate(unimodal(stores["ecg"]), ecg, shuffled=True)
    cross_validate(unimodal(stores["eeg"], task={**TASK, "hidden": (4,)}), eeg)
    return ecg, eeg


@pytest.fixture(scope="session")
def fused_cv(pair: tuple[SearchFolder, SearchFolder], tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    """A finished cross-validation of the fusion of `pair`, in one storage with copies of both."""
    storage = LocalStorage(tmp_path_factory.mktemp("fusion"))
    copies = [SearchFolder.of(folder.name, storage=storage) for folder in pair]
    for folder, copy in zip(pair, copies, strict=True):
        shutil.copytree(folder.path, copy.path)
    store = build_features(copies[0], copies[1], store=storage.local("features")).store
    folder = SearchFolder.of("fused-cv", storage=storage)
    settings = {"model": {"kind": "features", "width": store.about.width}, "folds": FOLDS, "epochs": 1}
    settings |= {"task": {"kind": "classify", "hidden": (4,)}, "optim": {"warmup_epochs": 0}}
    cross_validate(Experiment.model_validate({"store": str(store.path), **settings}), folder)
    return folder
