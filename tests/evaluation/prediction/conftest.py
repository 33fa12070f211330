"""Tiny classifiers trained for an epoch, in the folders of searches, and recordings of other people."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotune.cli import main
from emotune.data.corpora.synthetic import Synthetic, make_ecg, make_eeg, make_person
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.runtime.worker import describe
from emotune.search.records import Closed, Ended, Evaluation, Opened, Started, Value
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.training.checkpoints import save_checkpoint
from tests.support.training import train_until

FS = 256
SECONDS = 5.0
STUDY = {"objective": {"metric": "val/macro_f1", "mode": "max"}, "budget": {"min": 1, "max": 1, "eta": 3}}


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Modality], SegmentStore]:
    made: dict[str, SegmentStore] = {}

    def store_of(modality: Modality) -> SegmentStore:
        if modality not in made:
            path = tmp_path_factory.mktemp("stores") / modality
            settings = PrepareSettings(modality=modality, seconds=SECONDS)
            people = Synthetic(subjects=6, seconds_per_state=20.0)
            prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=people)
            made[modality] = SegmentStore.open(path)
        return made[modality]

    return store_of


@pytest.fixture
def train(
    stores: Callable[[Modality], SegmentStore], trained: Callable[..., Path], tmp_path: Path
) -> Callable[..., SearchFolder]:
    """Return a function that writes a search to ``results``, with a configuration for each set of values."""

    def make(
        name: str, *, purpose: str = "finetune", values: tuple[dict[str, Value], ...] = ({},), **settings: object
    ) -> SearchFolder:
        modality: Modality = "eeg" if settings.pop("modality", "ecg") == "eeg" else "ecg"
        store = stores(modality)
        if settings.pop("conditions", False):
            halves = np.where(np.arange(len(store)) % 2, "arithmetic", "rest")
            store = replace(store, index=store.index.assign(condition=halves))
        base = Experiment.model_validate(
            {
                "store": str(store.path),
                "fingerprint": store.fingerprint,
                "model": {"channels": (4, 8), "kernels": (9, 5), "feedforward": 16},
                "task": {"kind": "classify", "hidden": (8,)},
                "optim": {"schedule": "step", "warmup_epochs": 0, "lr": 0.01},
                "folds": {"segments": 16, "validation_segments": 8},
                "epochs": 1,
                "batch_size": 16,
                **settings,
            }
        )
        folder = SearchFolder.of(name, storage=LocalStorage(tmp_path / "results"))
        folder.path.mkdir(parents=True)
        with Journal.open(folder.journal, owner=name) as journal:
            opened = {"name": name, "purpose": purpose, "study": STUDY, "digest": "d", "seed": 0, "concurrency": 1}
            journal.append(Opened.model_validate({"time": 0.0, "software": {}, **opened}))
            for number, point in enumerate(values):
                budget = {"bracket": 0, "rung": 0, "from_epoch": 0, "to_epoch": 1}
                content = {"id": number, "config_id": number, "values": point, "origin": "random", **budget}
                evaluation = Evaluation.model_validate(content)
                journal.append(Started(time=0.0, evaluation=evaluation))
                checkpoint = trained(base.with_values(point), store=store)
                shutil.copytree(checkpoint, folder.checkpoints(number).local(checkpoint.name))
                done = {"evaluation_id": number, "config_id": number, "status": "done", "objective": 0.5}
                journal.append(Ended.model_validate({"time": 0.0, "seconds": 1.0, **done}))
            journal.append(Closed(time=0.0, state="finished"))
        return folder

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that trains an experiment for its epoch, once, and returns the checkpoint."""
    made: dict[str, Path] = {}

    def checkpoint_of(experiment: Experiment, *, store: SegmentStore) -> Path:
        digest = experiment.digest()
        if digest not in made:
            training_data = experiment.training_data(store)
            state = train_until(experiment.begin(training_data), training_data, experiment, until=1)
            root = tmp_path_factory.mktemp("checkpoints")
            made[digest] = save_checkpoint(LocalStorage(root), state, about=describe(experiment, training_data))
        return made[digest]

    return checkpoint_of


@pytest.fixture(scope="session")
def ecg() -> np.ndarray:
    """22 s of two leads, in mV at 256 Hz."""
    random = np.random.default_rng(5)
    person, settings = make_person(random), Synthetic(seconds_per_state=22)
    return np.concatenate([make_ecg(person, state=(1, 1), settings=settings, random=random) for _ in range(2)])


@pytest.fixture(scope="session")
def eeg() -> np.ndarray:
    """22 s of the ten channels, in uV at 256 Hz."""
    random = np.random.default_rng(6)
    return make_eeg(make_person(random), state=(1, 1), settings=Synthetic(seconds_per_state=22), random=random)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of .npz recordings; its scale keeps the samples to a part in 30,000."""

    def write_npz(name: str, *, signal: np.ndarray, names: tuple[str, ...], kind: str, fs: float = FS) -> Path:
        scale = np.maximum(np.abs(np.nan_to_num(signal)).max(axis=1), 1e-9) / 30_000
        file = tmp_path / name
        np.savez(
            file,
            x=np.round(signal / scale[:, None]).astype(np.float64),
            scale=scale,
            offset=np.zeros(len(signal)),
            fs=fs,
            channels=np.array(names),
            kinds=np.array([kind] * len(signal)),
            units=np.array(["mV" if kind == "ecg" else "uV"] * len(signal)),
            seg_start=np.array([]),
            seg_end=np.array([]),
            seg_label=np.array([], dtype=str),
        )
        return file

    return write_npz


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run ``emotune predict`` in an empty folder; returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["emotune", "predict", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err

    return call
