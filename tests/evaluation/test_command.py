"""``emotune fuse``: a summary, JSON, nothing computed twice, and studies with the published values."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emotune.cli.actions.fuse import _next_command
from emotune.cli.data import data
from emotune.cli.fuse import fuse
from emotune.data.store import SegmentStore
from emotune.documents import load_document, parse
from emotune.errors import SettingsError
from emotune.evaluation.crossval import cross_validation_study
from emotune.experiment import Experiment
from emotune.study.bundled import find_study
from emotune.study.folder import SearchFolder
from emotune.study.study import load_study
from emotune.tasks import Classify
from emotune.tasks.thresholds import Threshold

Pair = tuple[SearchFolder, SearchFolder]
EXAMPLE = Path(__file__).parents[2] / "examples/fusion.yaml"


def call(pair: Pair, out: Path, *more: str) -> Result:
    storage = str(pair[0].path.parent)
    result = CliRunner().invoke(fuse, ["ecg-cv", "eeg-cv", "--out", str(out), "--storage", storage, *more])
    if result.exception is not None:
        raise result.exception
    return result


def test_the_first_call_prints_a_summary_and_the_second_that_the_features_exist(pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "fused"
    first = call(pair, out)
    assert first.stdout.split() == [
        *("moments", "subjects", "recordings", "folds", "features"),
        *("128", "4", "16", "3", "10"),
        *("written", "to", str(out)),
    ]
    before = (out / "signal.npy").stat().st_mtime_ns
    assert f"already there: {out}" in call(pair, out).stdout
    assert (out / "signal.npy").stat().st_mtime_ns == before


def test_the_printed_command_is_valid_for_the_features(pair: Pair, tmp_path: Path) -> None:
    result = call(pair, tmp_path / "fused")
    words = shlex.split(result.stderr.splitlines()[-1])
    assert words[:3] == ["emotune", "crossval", "examples/fusion.yaml"]
    assert words[3:7] == ["--protocol", "paper", "--folds", "3"]
    assignments = [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
    experiment = parse(load_document(EXAMPLE).overridden(assignments), Experiment)
    study = cross_validation_study(experiment, protocol="paper", folds=3)
    store = SegmentStore.open(Path(words[words.index("--store") + 1]))
    for number in range(3):
        assert len(study.base.in_fold(number).training_data(store).fold.test)


def test_the_printed_command_names_the_condition_and_the_threshold(pair: Pair, tmp_path: Path) -> None:
    call(pair, tmp_path / "fused")
    store = SegmentStore.open(tmp_path / "fused")
    for task in (
        Classify(target="condition", high="mental arithmetic"),
        Classify(threshold=Threshold(of="subject")),
        Classify(threshold=5.0),
    ):
        words = shlex.split(_next_command(store, task=task))
        assignments = [word.removeprefix("--set=") for word in words if word.startswith("--set=")]
        experiment = parse(load_document(EXAMPLE).overridden(assignments), Experiment)
        assert experiment.task == task.model_copy(update={"hidden": (64, 32), "dropout": 0.1})


def test_the_summary_is_available_as_json(pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "fused"
    document = json.loads(call(pair, out, "--json").stdout)
    fingerprint = SegmentStore.open(out).fingerprint
    expected = {"moments": 128, "folds": 3, "features": 10, "written": True, "relabelled": 0, "left_out": []}
    assert {key: document[key] for key in expected} == expected
    assert document["sources"] == ["ecg-cv", "eeg-cv"]
    assert document["fingerprint"] == fingerprint
    assert json.loads(call(pair, out, "--json").stdout) == document | {"written": False}


def test_features_can_be_described_but_not_drawn(pair: Pair, tmp_path: Path) -> None:
    call(pair, tmp_path / "fused")
    described = CliRunner().invoke(data, ["describe", str(tmp_path / "fused"), "--verify"])
    assert described.exit_code == 0
    assert "128 of 1 s as 10 features" in described.stdout
    assert "ecg-cv" in described.stdout
    drawn = CliRunner().invoke(data, ["describe", str(tmp_path / "fused"), "--plot", str(tmp_path / "x.png")])
    assert isinstance(drawn.exception, SettingsError)
    assert "contains features; give a store of signals" in str(drawn.exception)


def test_the_published_values_are_those_of_the_example_and_the_defaults_of_the_search() -> None:
    example = parse(load_document(EXAMPLE), Experiment)
    study = load_study(find_study("fusion"))
    tried_first = study.base.with_values(dict(study.configuration_space().get_default_configuration()))
    for experiment in (example, tried_first):
        assert experiment.task.model_dump(include={"hidden", "dropout"}) == {"hidden": (64, 32), "dropout": 0.1}
        optim = experiment.optim
        assert (optim.kind, optim.lr, optim.weight_decay) == ("adam", 1e-5, 1e-5)
        assert (optim.schedule, optim.step_epochs, optim.step_factor) == ("step", 20, 0.65)
        assert experiment.epochs == 52
        assert experiment.model.model_dump() == {"kind": "features", "fold": 0, "width": 576}


@pytest.mark.parametrize(("epoch", "rate"), [(0, 1e-5), (19, 1e-5), (20, 6.5e-6), (40, 4.225e-6), (51, 4.225e-6)])
def test_the_published_schedule_at_named_epochs(epoch: int, rate: float) -> None:
    experiment = parse(load_document(EXAMPLE), Experiment)
    assert experiment.optim.learning_rate(epoch * 7, steps_per_epoch=7, epochs=52) == pytest.approx(rate, rel=1e-12)
