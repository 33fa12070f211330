"""Before a training starts, the division of the data is printed, with people on both sides."""

from pathlib import Path

import pytest

from emotune.cli.actions import experiment_run
from emotune.cli.actions.experiment_run import describe_split
from emotune.cli.actions.run import Destination
from emotune.cli.actions.single_run import single_run
from emotune.data.store import SegmentStore
from emotune.runtime.options import RunOptions
from emotune.runtime.worker import describe
from emotune.search.criteria import StudyObjective
from emotune.storage import LocalStorage
from emotune.study.initial_encoders import Encoders
from emotune.training.checkpoints import save_checkpoint
from tests.training.conftest import store, tiny_experiment

__all__ = ["store"]

TASK = {"kind": "classify", "hidden": (8,)}


@pytest.fixture(scope="module")
def encoders(store: SegmentStore, tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    experiment = tiny_experiment(store.path)
    data = experiment.training_data(store)
    folder = LocalStorage(tmp_path_factory.mktemp("encoder"))
    return {"encoder": save_checkpoint(folder, experiment.begin(data), about=describe(experiment, data))}


def test_a_division_by_person_is_a_line(store: SegmentStore) -> None:
    (line,) = describe_split(tiny_experiment(store.path), store=store, encoders={})
    assert line.startswith("split ")
    assert line.endswith("; no subject is in two parts")


def test_a_division_by_trial_has_a_warning(store: SegmentStore) -> None:
    experiment = tiny_experiment(store.path, folds={"by": "trial", "count": 3})
    _, warning = describe_split(experiment, store=store, encoders={})
    assert "held-out people have training segments too (folds.by: trial)" in warning


@pytest.mark.parametrize("weights", ["pretrained", "scratch"])
def test_the_test_people_of_the_pre_training_are_counted(store: SegmentStore, encoders: Encoders, weights: str) -> None:
    start = {"encoder": str(encoders["encoder"]), "weights": weights}
    experiment = tiny_experiment(store.path, task=TASK, start=start, folds={"count": 3, "seed": 1})
    notes = describe_split(experiment, store=store, encoders=encoders)[1:]
    assert len(notes) == (weights == "pretrained")
    assert all("was pre-trained, without labels, on signals of " in note for note in notes)


@pytest.mark.parametrize(("purpose", "printed"), [("finetune", True), ("configuration", True), ("fold", False)])
def test_the_line_is_printed_before_the_search_starts(
    store: SegmentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    purpose: str, printed: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(experiment_run, "run_workload", lambda *arguments, **options: 0)
    objective = StudyObjective(metric="val/loss", mode="min")
    study = single_run(tiny_experiment(store.path), objective=objective)
    destination = Destination("ours", LocalStorage(tmp_path), "sqlite:///unused.db")
    options = RunOptions(purpose=purpose)  # type: ignore[arg-type]
    assert experiment_run.run(study, destination, store=store, options=options) == 0
    assert ("no subject is in two parts" in capsys.readouterr().err) is printed
