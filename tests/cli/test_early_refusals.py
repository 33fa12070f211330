"""Mistakes that the store's index shows are refused before an encoder is loaded or Ray is started."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from emotune.cli import main
from emotune.cli.actions import crossval, experiment_run, experiment_search, single_run
from emotune.cli.actions.experiment_run import describe_labels
from emotune.data.store import INDEX_FILE, SegmentStore
from emotune.experiment import Experiment
from emotune.study.study import Study
from emotune.training.loop import TrainingData

Call = Callable[..., tuple[int, str]]

FINETUNE = "task: {kind: classify, hidden: [8]}\nepochs: 4\noptim: {schedule: none, warmup_epochs: 0}\n"
STUDY = (
    "base: {modality: eeg, optim: {warmup_epochs: 0}}\nbudget: {min: 1, max: 9}\nspace:\n  hyperparameters:\n"
    "    - {name: optim.lr, type: uniform_float, lower: 1e-4, upper: 1e-2}\n"
)


@pytest.fixture(scope="module")
def rated(small_store: Path) -> Path:
    return small_store


@pytest.fixture(scope="module")
def conditions(tmp_path_factory: pytest.TempPathFactory, small_store: Path) -> Path:
    """Return a store with two conditions and without ratings."""
    path = shutil.copytree(small_store, tmp_path_factory.mktemp("stores") / "conditions")
    index = pd.read_parquet(path / INDEX_FILE)
    index["condition"] = ["rest" if row % 2 else "arithmetic" for row in range(len(index))]
    index[["rating_arousal", "rating_valence"]] = float("nan")
    size = (path / INDEX_FILE).stat().st_size
    index.to_parquet(path / INDEX_FILE)
    about = path / "about.json"
    about.write_text(about.read_text().replace(f'"size": {size}', f'"size": {(path / INDEX_FILE).stat().st_size}'))
    return path


@pytest.fixture
def started() -> list[Study]:
    """Return the studies that a command has started."""
    return []


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], started: list[Study]
) -> Call:
    def record(study: Study, *arguments: object, **options: object) -> int:
        started.append(study)
        return 130

    for module in (single_run, experiment_search, crossval):
        monkeypatch.setattr(module, "run", record)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMOTUNE_STORE", raising=False)
    (tmp_path / "finetune.yaml").write_text(FINETUNE)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "pretrain.yaml").write_text("model: {channels: [4], kernels: [5], feedforward: 8}\nepochs: 40\n")

    def call_program(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["emotune", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), capsys.readouterr().err

    return call_program


def test_a_store_without_ratings_is_refused_with_its_conditions(
    call: Call, conditions: Path, started: list[Study]
) -> None:
    for command in (["finetune"], ["crossval", "--protocol", "subject"]):
        code, err = call(*command, "finetune.yaml", "--store", str(conditions), "--encoder", "nowhere")
        assert code == 2
        assert "no ratings of arousal; it has the conditions 'arithmetic', 'rest': set task.target: condition" in err
        assert err.count("\n") == 1
    settings = ["--set", "task.target=condition", "--set", "task.high=arithmetic"]
    code, err = call("finetune", "finetune.yaml", "--store", str(conditions), *settings)
    assert (code, len(started)) == (130, 1)
    assert "arithmetic: 50% of " in err


def test_a_fine_tuning_without_validation_segments_is_refused(call: Call, rated: Path, started: list[Study]) -> None:
    code, err = call("finetune", "finetune.yaml", "--store", str(rated), "--set", "folds.validation=0")
    assert (code, started) == (2, [])
    assert "folds.validation: 0 was given, but a fine-tuning is measured by val/macro_f1" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [["finetune"], ["crossval", "--protocol", "people"]])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["folds.test.subjects=[s7]"], "folds.test: the data have no subject 's7'"),
        (["folds.test.subjects=[s001]", "folds.train.subjects=[s001, s002]"], "both name synthetic/s001"),
        (["folds.test.subjects=[s001, s002, s003, s004, s005, s006]"], "folds.test leaves 0 subjects to train"),
        (["folds.test.subjects=[]"], "were given, expected one of them"),
        (["folds.test.subjects=[1]"], "1 is a number, expected the name of a subject; put it in quotes"),
    ],
)
def test_people_who_cannot_be_tested_are_refused_in_one_line(
    call: Call, rated: Path, started: list[Study], command: list[str], settings: list[str], message: str
) -> None:
    assignments = [f"--set={setting}" for setting in settings]
    code, err = call(*command, "finetune.yaml", "--store", str(rated), *assignments)
    assert (code, started) == (2, [])
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [["finetune"], ["crossval", "--protocol", "people"]])
def test_a_run_starts_with_the_people_that_it_tests(
    call: Call, rated: Path, started: list[Study], command: list[str]
) -> None:
    code, _ = call(*command, "finetune.yaml", "--store", str(rated), "--set=folds.test.subjects=[s001, s004]")
    assert code == 130
    fold = started[0].base.select(SegmentStore.open(rated)).fold
    people = SegmentStore.open(rated).index["subject"]
    assert set(people.iloc[fold.test]) == {"s001", "s004"}
    assert not set(people.iloc[fold.train]) & {"s001", "s004"}


def test_a_pre_training_without_validation_segments_is_measured_by_its_training_loss(
    call: Call, rated: Path, started: list[Study]
) -> None:
    code, _ = call("pretrain", "pretrain.yaml", "--store", str(rated), "--set", "folds.validation=0")
    assert code == 130
    assert started[0].objective.metric == "train/loss"


def test_a_study_of_another_modality_is_refused(call: Call, rated: Path, started: list[Study]) -> None:
    code, err = call("search", "study.yaml", "--store", str(rated))
    assert (code, started) == (2, [])
    assert "modality: eeg was given, but " in err
    assert "holds ECG; give a store that was prepared with --modality eeg" in err
    assert call("search", "study.yaml", "--store", str(rated), "--set", "base.modality=ecg")[0] == 130


def test_an_empty_partner_means_none(call: Call, rated: Path, started: list[Study]) -> None:
    code, _ = call("finetune", "finetune.yaml", "--store", str(rated), "--set", "partner=")
    assert code == 130
    assert started[0].base.partner == ""


def test_a_pre_training_without_a_half_prints_which_cross_validation_accepts_it(call: Call, rated: Path) -> None:
    without = "folds={index: null, validation: 0, without: {corpus: synthetic, half: first}}"
    code, err = call("pretrain", "pretrain.yaml", "--store", str(rated), "--set", without)
    assert code == 130
    assert "can be the first --encoder of `emotune crossval EXPERIMENT --protocol paper --folds 5" in err
    assert "the paper has 10 folds (--set folds.count=10)" in err
    _, err = call("pretrain", "pretrain.yaml", "--store", str(rated), "--set", without, "--set", "folds.count=10")
    assert "the paper has" not in err


def test_a_probe_prints_its_people_and_is_refused_without_labels(
    call: Call, rated: Path, conditions: Path, started: list[Study]
) -> None:
    options = ["--set", "task={kind: masked_values, probe: {target: valence}}", "--set", "folds.validation=0.4"]
    code, err = call("pretrain", "pretrain.yaml", "--store", str(rated), *options)
    assert code == 130
    assert "task.probe: fitted on 240 segments of 3 people, scored on 160 segments of 2 people with labels" in err
    for store, more, complaint in (
        (conditions, options, "set task.probe.target: condition and task.probe.high to one of them"),
        (rated, options[:2], "80 validation segments of 1 people have a label, of 2 classes; expected at least 2"),
        (rated, [*options, "--set", "folds.by=moment"], "task.probe: 6 people have training and validation segments"),
    ):
        code, err = call("pretrain", "pretrain.yaml", "--store", str(store), *more)
        assert (code, err.count("\n"), len(started)) == (2, 1, 1), err
        assert complaint in err


@pytest.mark.parametrize(("threshold", "warned"), [("mean", True), ("{of: corpus}", False)])
def test_the_shares_of_high_labels_are_printed_and_warned_of(rated: Path, threshold: str, warned: bool) -> None:
    store = SegmentStore.open(rated)
    first = store.index["subject"] <= "s003"
    index = store.index.assign(corpus=first.map({True: "ours", False: "theirs"}))
    index["rating_arousal"] = index["rating_arousal"] + 4.0 * first
    task = {"kind": "classify", "threshold": "mean" if threshold == "mean" else {"of": "corpus"}}
    experiment = Experiment.model_validate({"task": task, "folds": {"count": 3}})
    training_data: TrainingData = experiment.select(
        SegmentStore(path=store.path, signal=store.signal, index=index, about=store.about)
    )
    assert experiment.task.kind == "classify"
    text = describe_labels(experiment.task, training_data)
    assert text.startswith(f"high arousal, task.threshold {threshold}: ")
    assert " segments of ours, " in text
    assert ("warning: the shares differ by more than 0.3" in text) is warned
    assert experiment_run.MAX_SHARE_DIFFERENCE == 0.3


@pytest.mark.parametrize("command", ["finetune", "crossval"])
def test_centring_needs_a_frozen_encoder_and_prints_the_segments_of_its_means(
    call: Call, rated: Path, started: list[Study], command: str
) -> None:
    options = ["--store", str(rated), "--set", "task.centre=person", *(["--protocol", "subject"] * (command[0] == "c"))]
    code, err = call(command, "finetune.yaml", *options)
    assert (code, err.count("\n"), started) == (2, 1, [])
    assert "centre: person was given with frozen: false" in err
    assert "set frozen: true (--adapt frozen or --adapt linear)" in err
    _, err = call(command, "finetune.yaml", *options, "--adapt", "linear", "--folds" if command[0] == "c" else "--name",
                  "3" if command[0] == "c" else "ours")  # fmt: skip
    assert started[0].base.task.kind == "classify"
    assert started[0].base.task.centre == "person"
    assert re.search(
        r"task\.centre: person: the mean of each person.* is over \d+.* segments, with and without a label", err
    )
