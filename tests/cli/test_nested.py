"""Nested cross-validation: the searches of the folds, and the values that the folds get."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml

from emotune.api.calls import make_request
from emotune.cli.actions.nested import fold_studies, tune_folds
from emotune.cli.actions.run import Destination
from emotune.cli.crossval import CrossValidationRequest
from emotune.cli.crossval import crossval as command
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.crossval import cross_validation_study
from emotune.experiment import Experiment
from emotune.search.records import Closed, Ended, Evaluation, Opened, Started
from emotune.storage import LocalStorage
from emotune.study.journal import Journal
from emotune.study.study import Study

SPACE = [
    {"name": "optim.lr", "type": "uniform_float", "lower": 1e-4, "upper": 1e-1, "log": True, "default_value": 1e-2}
]
TUNE = {
    "objective": {"metric": "val/macro_f1", "mode": "max"},
    "budget": {"min": 1, "max": 3},
    "space": {"hyperparameters": SPACE},
}


def experiment(store: Path, **folds: object) -> Experiment:
    return Experiment.model_validate(
        {
            "store": str(store),
            "model": {"channels": [4], "kernels": [9], "feedforward": 16, "layers": 1, "heads": 1},
            "task": {"kind": "classify", "hidden": [8]},
            "optim": {"warmup_epochs": 0},
            "folds": folds,
            "epochs": 3,
        }
    )


def request(tmp_path: Path, study: Mapping[str, object]) -> CrossValidationRequest:
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "exp.yaml").write_text("{}")
    values = {"experiment": str(tmp_path / "exp.yaml"), "protocol": "subject", "tune": str(tmp_path / "tune.yaml")}
    return make_request(command, CrossValidationRequest, values=values | {"storage": str(tmp_path / "results")})


def write_search(study: Study, *, name: str, storage: LocalStorage, lr: float) -> None:
    """Write a finished search with two configurations, of which the second is better."""
    folder = Destination(name, storage, None).folder
    folder.path.mkdir(parents=True)
    with Journal.open(folder.journal, owner="test") as journal:
        about = {"name": name, "study": study.as_document(), "digest": study.digest(), "seed": 0, "concurrency": 1}
        journal.append(Opened.model_validate({"time": 0.0, "software": {}, **about}))
        for number, (value, score) in enumerate([(0.01, 0.4), (lr, 0.6)]):
            budget = {"bracket": 0, "rung": 1, "from_epoch": 0, "to_epoch": 3}
            content = {"id": number, "config_id": number, "values": {"optim.lr": value}, "origin": "random", **budget}
            journal.append(Started(time=0.0, evaluation=Evaluation.model_validate(content)))
            end = {"evaluation_id": number, "config_id": number, "status": "done", "objective": score, "seconds": 1.0}
            journal.append(Ended.model_validate({"time": 0.0, **end}))
        journal.append(Closed(time=0.0, state="finished"))


def test_the_search_of_a_fold_holds_the_test_people_of_that_fold_out(small_store: Path, tmp_path: Path) -> None:
    base, store = experiment(small_store, validation=0.0), SegmentStore.open(small_store)
    studies = fold_studies(base, request=request(tmp_path, TUNE), folds=3)
    assert len(studies) == 3
    folds = cross_validation_study(base, protocol="subject", folds=3)
    for number, study in enumerate(studies):
        searched, tested = study.base.select(store).fold, folds.base.in_fold(number).select(store).fold
        assert searched.test.tolist() == tested.test.tolist()
        assert sorted([*searched.train, *searched.val]) == tested.train.tolist()
        people = store.index["subject"].to_numpy()
        assert len(np.unique(people[searched.val])) > 0
        assert not set(people[searched.val]) & set(people[searched.train])


def test_the_folds_get_the_best_values_of_their_searches(small_store: Path, tmp_path: Path) -> None:
    base, given = experiment(small_store), request(tmp_path, TUNE)
    storage = LocalStorage(tmp_path / "results")
    for number, study in enumerate(fold_studies(base, request=given, folds=3)):
        write_search(study, name=f"mine-fold-{number}", storage=storage, lr=0.02 * (number + 1))
    code, tuned = tune_folds(base, Destination("mine", storage, None), request=given, folds=3)
    assert (code, tuned) == (0, [{"optim.lr": 0.02}, {"optim.lr": 0.04}, {"optim.lr": 0.06}])


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (TUNE | {"budget": {"min": 1, "max": 9}}, "epochs: 3 is less than budget.max 9"),
        (TUNE | {"objective": {"metric": "val/auc"}}, "objective.metric: 'val/auc' was given"),
        (
            TUNE | {"space": {"hyperparameters": [SPACE[0] | {"name": "folds.seed"}]}},
            "folds.seed is in the search space",
        ),
    ],
)
def test_a_study_that_does_not_fit_the_experiment_is_refused(
    small_store: Path, tmp_path: Path, study: dict, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        fold_studies(experiment(small_store), request=request(tmp_path, study), folds=3)
