"""Promises of studies: what is wrong is said with its line, and what decides results is what is compared."""

from pathlib import Path

import pytest

from emotune.errors import SettingsError, StudyChangedError
from emotune.experiment import Experiment, deciding_settings
from emotune.search.records import Opened
from emotune.study.bundled import EXAMPLES, STUDIES, describe_choice, find_experiment, find_study
from emotune.study.preview import count_rungs, preview
from emotune.study.resume import as_recorded, check_unchanged, make_optimizer, with_recorded_defaults
from emotune.study.study import Study, load_study
from emotune.tasks import MaskedValues

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
    "metric that is not measured": (
        "seed: 7",
        "objective: {metric: val/macro_f1, mode: max}",
        r"objective.metric: 'val/macro_f1' was given, but task.kind: masked_values reports val/loss, train/loss",
    ),
    "probe without labels": (
        "seed: 7",
        "objective: {metric: probe/macro_f1, mode: max}",
        r"seconds_per_epoch; a probe needs labels: give base.task.probe, for",
    ),
    "the worst probe": (
        "base:",
        "objective: {metric: probe/macro_f1}\nbase:\n  task: {kind: masked_values, probe: {target: valence}}",
        r"objective.mode: min with metric probe/macro_f1, of which larger values are better; give .*mode=max",
    ),
    "probe without validation people": (
        "base:",
        "base:\n  folds: {validation: 0}\n  task: {kind: masked_values, probe: {target: valence}}",
        r"task.probe was given with folds.validation: 0",
    ),
    "condition of a probe": (
        "base:",
        "base:\n  task: {kind: masked_values, probe: {target: condition}}",
        r"task.probe: high: '' with target: condition",
    ),
    "the largest loss": (
        "seed: 7",
        "objective: {mode: max}",
        r"study.yaml:4:1.*: objective.mode: max with metric val/loss, of which smaller values are better",
    ),
    "the worst classifier": (
        "base:",
        "objective: {metric: val/macro_f1}\nbase:\n  task: {kind: classify}",
        r"objective.mode: min with metric val/macro_f1, of which larger values are better; give .*mode=max",
    ),
    "nothing that validates": (
        "base:",
        "base:\n  folds: {validation: 0}",
        r"study.yaml:2:11: folds.validation: 0 was given, but the objective val/loss is measured on validation",
    ),
    "best epoch of a search": ("base:", "base:\n  keep: best", r"base.keep: best has no effect in a search"),
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


MASKED, CLASSIFIED = "{kind: masked_values}", "{kind: classify}"
PROBED = "{kind: masked_values, probe: {target: valence}}"


def objective_of(metric: str) -> str:
    return f"{{metric: {metric}, mode: {'min' if metric.endswith('loss') else 'max'}}}"


@pytest.mark.parametrize(
    ("task", "name", "choices", "metric", "remedy"),
    [
        (MASKED, "task.validation", "[null]", "val/loss", "set base.task.validation to one value"),
        ("{kind: masked_values, validation: null}", "task.span", "[10, 20]", "val/loss", "or set base.task.validation"),
        (MASKED, "task.span", "[10, 20]", "train/loss", "or use objective.metric: val/loss"),
        (MASKED, "folds.validation_segments", "[10, 20]", "val/loss", ""),
        (MASKED, "start.weights", "[pretrained, scratch]", "val/loss", "where it has no effect"),
        (PROBED, "task.probe.centred", "[true, false]", "probe/macro_f1", ""),
        (PROBED, "task.probe.centred", "[true, false]", "val/loss", "where it has no effect"),
        (CLASSIFIED, "task.target", "[arousal, valence]", "val/macro_f1", ""),
        (CLASSIFIED, "task.threshold", "[4.0, 5.0]", "val/macro_f1", ""),
        (CLASSIFIED, "task.class_weight", "[balanced, none]", "val/loss", "or use objective.metric: val/macro_f1"),
        (CLASSIFIED, "folds.segments", "[10, 20]", "val/loss", ""),
        ("{kind: recognise_transformation}", "task.snr", "[10.0, 15.0]", "val/accuracy", ""),
    ],
)
def test_a_space_with_a_setting_that_changes_how_the_objective_is_measured_is_refused(
    write, task: str, name: str, choices: str, metric: str, remedy: str
) -> None:
    text = f"base: {{task: {task}}}\nobjective: {objective_of(metric)}\nbudget: {{min: 1, max: 99}}\nspace:\n"
    entry = f"  hyperparameters:\n    - {{name: {name}, type: categorical, choices: {choices}}}\n"
    path = write(text + entry)
    with pytest.raises(SettingsError) as refused:
        load_study(path)
    assert str(refused.value).startswith(f"{path}:6:7: {name} is in the search space, ")
    assert remedy in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("task", "name", "choices", "metric"),
    [
        (MASKED, "task.span", "[10, 20]", "val/loss"),
        (MASKED, "task.head", "[16, 32]", "val/loss"),
        (PROBED, "task.span", "[10, 20]", "probe/macro_f1"),
        (PROBED, "folds.segments", "[100, 200]", "probe/accuracy"),
        (CLASSIFIED, "task.class_weight", "[balanced, none]", "val/macro_f1"),
        (CLASSIFIED, "folds.segments", "[10, 20]", "val/macro_f1"),
        ("{kind: classify, frozen: true}", "task.centre", "[none, person]", "val/macro_f1"),
    ],
)
def test_settings_of_the_training_can_be_searched(write, task: str, name: str, choices: str, metric: str) -> None:
    text = f"base: {{task: {task}}}\nobjective: {objective_of(metric)}\nbudget: {{min: 1, max: 99}}\nspace:\n"
    entry = f"  hyperparameters:\n    - {{name: {name}, type: categorical, choices: {choices}}}\n"
    assert load_study(write(text + entry)).objective.metric == metric


@pytest.mark.parametrize("searched", ["task.centre", "task.frozen"])
def test_a_space_that_centres_a_trained_encoder_is_refused_in_a_line(write, searched: str) -> None:
    fixed, choices = {
        "task.centre": ("frozen: false", "[none, person]"),
        "task.frozen": ("frozen: true, centre: person", "[true, false]"),
    }[searched]
    text = f"base: {{task: {{kind: classify, {fixed}}}}}\nobjective: {objective_of('val/macro_f1')}\n"
    entry = f"    - {{name: {searched}, type: categorical, choices: {choices}}}\n"
    with pytest.raises(SettingsError, match="centre: person was given with frozen: false, but") as refused:
        load_study(write(f"{text}budget: {{min: 1, max: 99}}\nspace:\n  hyperparameters:\n{entry}"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["float", "int"])
def test_a_normal_distribution_on_a_logarithmic_range_is_refused_in_a_new_search(write, kind: str) -> None:
    entry = f"name: batch_size, type: normal_{kind}, lower: 1, upper: 99, mu: 10, sigma: 5, log: true"
    text = f"budget: {{min: 1, max: 99}}\nspace:\n  hyperparameters:\n    - {{{entry}}}\n"
    with pytest.raises(SettingsError, match=rf"log: true, for which sigma has no defined scale; use beta_{kind}"):
        load_study(write(text))
    if kind == "int":
        assert load_study(write(text), resumed=True).space["hyperparameters"][0]["sigma"] == 5


OLD_TASKS = {
    "classify": ({"kind": "classify"}, {"threshold": "mean"}, "task.threshold"),
    "masked_values": ({"kind": "masked_values", "span": 5}, {"span": 5}, "task.validation"),
}


@pytest.mark.parametrize(("task", "old", "name"), OLD_TASKS.values(), ids=OLD_TASKS.keys())
def test_a_search_resumes_with_the_defaults_that_it_was_started_with(write, task: dict, old: dict, name: str) -> None:
    given = Study.model_validate({**load_study(write(GOOD)).model_dump(), "base": {"task": task, "epochs": 99}})
    document = given.as_document()
    for added in ("validation", "class_weight"):
        document["base"]["task"].pop(added, None)
    document["base"].pop("keep")
    document["base"].pop("modality")
    document["base"]["task"] |= old
    record = Opened(time=0, name="n", study=document, digest="", seed=0, concurrency=1, software={})
    resumed, lines = with_recorded_defaults(given, [record])
    assert [line for line in lines if name in line] == lines != []
    check_unchanged(resumed, record)
    assert as_recorded(given, [record], amounts={}) == resumed
    assert with_recorded_defaults(resumed, [record])[1] == []
    changed = {**task, **({"dropout": 0.5} if task["kind"] == "classify" else {"head": 5})}
    other = Study.model_validate({**given.model_dump(), "base": {"task": changed, "epochs": 99}})
    with pytest.raises(StudyChangedError):
        as_recorded(other, [record], amounts={})


def test_a_search_whose_record_names_no_model_resumes_with_the_default_of_its_version(write) -> None:
    given = load_study(write(GOOD))
    document = given.as_document()
    assert document["searcher"] == {"kind": "bohb", "model": "gain"}, "a record names the model"
    document["searcher"] = {"kind": "bohb"}
    record = Opened(time=0, name="n", study=document, digest="", seed=0, concurrency=1, software={})
    resumed, (line,) = with_recorded_defaults(given, [record])
    assert 'searcher.model: "rungs"' in line
    assert '"gain"' in line
    check_unchanged(resumed, record)
    assert make_optimizer(resumed, records=[], concurrency=1).settings.model == "rungs"
    assert Study.recorded(document).search_settings().model == "rungs"
    other = Study.model_validate({**given.model_dump(), "searcher": {"kind": "bohb", "model": "gain"}})
    with pytest.raises(StudyChangedError, match="model"):
        as_recorded(other, [record], amounts={})
    random = {"kind": "random"}
    assert Study.recorded({**document, "searcher": random}).as_document()["searcher"] == random


def test_settings_that_mean_what_older_versions_did_leave_the_digest_as_it_was() -> None:
    plain = Experiment()
    assert "validation" not in deciding_settings(plain.model_dump(mode="json"))["task"]
    assert plain.model_copy(update={"task": MaskedValues(validation=None)}).digest() == plain.digest()
    assert plain.with_values({"modality": "ecg"}).digest() == plain.digest()
    other = Experiment.model_validate({"task": {"kind": "masked_values", "span": 5}})
    assert other.digest() != other.model_copy(update={"task": MaskedValues(span=5, validation=None)}).digest()


BUNDLED = [
    *sorted(STUDIES.glob("*.yaml")),
    *(EXAMPLES / f"{name}.yaml" for name in ("small_pretext", "pretrain_contrastive", "pretrain_by_probe")),
]


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
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


def test_a_study_of_the_present_folder_comes_before_that_of_emotune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundled = find_study("smoke")
    assert bundled == STUDIES / "smoke.yaml"
    assert describe_choice("smoke", file=bundled) == f"smoke: {bundled}"
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "smoke.yaml").write_text("seed: 1\n")
    local = find_study("smoke")
    assert local == Path("search_spaces/smoke.yaml")
    assert "is used, not the file of that name in" in str(describe_choice("smoke", file=local))
    (tmp_path / "smoke").write_text("seed: 2\n")
    assert find_study("smoke") == Path("smoke")
    assert describe_choice("smoke", file=Path("smoke")) is None


@pytest.mark.parametrize("name", ["finetune", "finetune.yaml", "examples/finetune.yaml"])
def test_an_example_is_found_by_name_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "finetune").mkdir()
    assert find_experiment(Path(name)) == EXAMPLES / "finetune.yaml"
    own = Path("mine/finetune.yaml")
    assert find_experiment(own) == own, "a path to another folder is never an example"
    with pytest.raises(SettingsError, match=r"Did you mean 'finetune'"):
        find_experiment(Path("finetun.yaml"))
