"""Promises of studies: what is wrong is said with its line, and what decides results is what is compared."""

from pathlib import Path

import pytest

from emotune.errors import SettingsError, StudyChangedError
from emotune.search.records import Opened
from emotune.study.preview import count_rungs, preview
from emotune.study.resume import check_unchanged, make_optimizer
from emotune.study.study import SEARCH_SPACES, Study, find_study, load_study

GOOD = """\
base:
  optim: {warmup_epochs: 1}
budget: {min: 1, max: 9, eta: 3}
seed: 7
space:
  hyperparameters:
    - {name: optim.lr, type: uniform_float, lower: 1.0e-4, upper: 1e-2, log: true}
    - {name: model.layers, type: uniform_int, lower: 1, upper: 3}
"""


@pytest.fixture
def write(tmp_path: Path):
    def make(text: str) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return make


MISTAKES = {
    "unknown section": ("budget:", "budgets:", r"study.yaml:3:1: .*Did you mean 'budget'"),
    "unknown setting": (
        "warmup_epochs: 1",
        "warmup: 1",
        r"study.yaml:2:11: .*optim.warmup.*Did you mean 'warmup_epochs'",
    ),
    "text for a number": ("min: 1", "min: one", r"study.yaml:3:10: budget.min: .*one.*expected a whole number"),
    "below the least": (
        "eta: 3",
        "eta: 1",
        r"study.yaml:3:26: budget.eta: 1 was given, expected a number of at least 2",
    ),
    "min above max": ("min: 1", "min: 10", r"min 10 is above max 9"),
    "duplicate key": ("seed: 7", "seed: 7\nseed: 8", r"study.yaml:5:1: .*seed"),
    "unknown hyperparameter": (
        "optim.lr",
        "optim.learning_rate",
        r"study.yaml:7:7: no setting is called 'optim.learning_rate'. Did you mean optim.lr",
    ),
    "impossible edge": ("upper: 3}", "upper: 99}", r"study.yaml:8:7: model.layers = 50: .*48"),
    "reversed bounds": ("lower: 1, upper: 3", "lower: 3, upper: 1", r"study.yaml:5:1: .*model.layers"),
    "unknown searcher": ("seed: 7", "searcher: {kind: bhob}", r"study.yaml:4:1: no searcher is called 'bhob'.*bohb"),
    "option of another section": (
        "seed: 7",
        "searcher: {kind: random, brackets: 9}",
        r"study.yaml:4:1: .*budget.brackets",
    ),
    "good in another space": (
        "seed: 7",
        "earlier: [{optim.lr: 0.005, model.layers: 2}, {optim.lr: 0.5, model.layers: 2}]",
        r"study.yaml:4:47: optim.lr = 0.5 is outside the space, expected a value in 0.0001 to 0.01",
    ),
    "not YAML": ("seed: 7", "seed: [7", r"study.yaml:\d+:\d+"),
    "warm-up without end": ("warmup_epochs: 1", "warmup_epochs: 9", r"but the run has 9 epochs"),
    "epochs below the last rung": ("base:", "base:\n  epochs: 5", r"base.epochs: 5 is less than budget.max 9"),
}


@pytest.mark.parametrize(("old", "new", "complaint"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_its_place(write, old: str, new: str, complaint: str) -> None:
    path = write(GOOD.replace(old, new))
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_study(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_exponents_without_a_point_are_numbers(write) -> None:
    assert load_study(write(GOOD)).space["hyperparameters"][0]["upper"] == 0.01


def test_a_study_reads_back_from_its_document(write) -> None:
    study = load_study(write(GOOD))
    again = Study.model_validate(study.as_document())
    assert again.digest() == study.digest()
    assert again.as_document() == study.as_document()


def opening(study: Study) -> Opened:
    return Opened(
        time=0, name="n", study=study.as_document(), digest=study.digest(), seed=0, concurrency=1, software={}
    )


def test_where_things_lie_and_how_they_are_done_decides_nothing(write) -> None:
    first = opening(load_study(write(GOOD), assignments=["base.store=/a"]))
    moved = load_study(write(GOOD), assignments=["base.store=/b", "base.compute.threads=2"])
    check_unchanged(moved, first)
    assert moved.digest() == first.digest


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("seed=8", "seed was 7 and is now 8"),
        ("base.optim.weight_decay=0.1", "base.optim.weight_decay was 0.005 and is now 0.1"),
        ("budget.max=27", "budget.max was 9 and is now 27"),
        ("space.hyperparameters.1.upper=4", "space.hyperparameters was .*upper"),
        ("searcher={kind: random}", 'searcher.kind was "bohb" and is now "random"'),
    ],
)
def test_a_changed_study_is_refused_and_the_change_named(write, assignment: str, named: str) -> None:
    first = opening(load_study(write(GOOD)))
    with pytest.raises(StudyChangedError, match=named):
        check_unchanged(load_study(write(GOOD), assignments=[assignment]), first)


def test_configurations_known_to_be_good_decide_results_and_reach_the_searcher(write) -> None:
    good = {"optim.lr": 0.005, "model.layers": 2}
    study = load_study(write(GOOD), assignments=["earlier=[{optim.lr: 5e-3, model.layers: 2}]"])
    assert study.search_settings().earlier == (good,)
    assert make_optimizer(study, records=[], concurrency=1).settings.earlier == (good,)
    with pytest.raises(StudyChangedError, match="earlier was"):
        check_unchanged(load_study(write(GOOD)), opening(study))


STUDIES = [*sorted(SEARCH_SPACES.glob("*.yaml")), SEARCH_SPACES.parent / "examples" / "small_pretext.yaml"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_that_comes_with_the_project_can_be_run(path: Path) -> None:
    study = load_study(path)
    evaluations = preview(study)
    assert {evaluation.to_epoch for evaluation in evaluations} <= set(study.budget.rungs)
    assert sum(rung.evaluations for rung in count_rungs(evaluations)) == len(evaluations)
    header = path.read_text().splitlines()[:6]
    assert any("Command:" in line for line in header)


def test_the_published_values_are_the_defaults_of_the_published_studies() -> None:
    pretrain = dict(load_study(find_study("ecg_pretrain")).configuration_space().get_default_configuration())
    assert pretrain == {"model.layers": 2, "model.heads": 2, "optim.lr": 1e-3, "optim.warmup_epochs": 30}
    finetune = load_study(find_study("ecg_finetune"))
    settled = finetune.base.with_values(dict(finetune.configuration_space().get_default_configuration()))
    assert settled.task.kind == "classify"
    assert settled.task.hidden == (1024, 512)
    assert (settled.optim.lr, settled.optim.step_epochs, settled.optim.step_factor) == (1e-4, 45, 0.65)
    pretext = load_study(find_study("pretext"))
    settled = pretext.base.with_values(dict(pretext.configuration_space().get_default_configuration()))
    assert (settled.batch_size, settled.optim.lr, settled.optim.schedule) == (128, 1e-3, "none")


def test_an_unknown_study_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"no study 'ecg'.*ecg_pretrain"):
        find_study("ecg")
