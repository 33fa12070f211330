"""`EmotuneSampler` in real studies of Optuna."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    Integer,
    NormalFloatHyperparameter,
)
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState, create_trial

from emotune.errors import SettingsError
from emotune.integrations.optuna import Code, EmotuneSampler, suggest
from emotune.search.space import plain

Objective = Callable[[Trial], float]


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def value_at(values: dict[str, Any], epoch: int) -> float:
    """Return a loss that falls with the epochs towards a bowl with its bottom at x = 2, rate = 0.01."""
    bowl = (values["x"] - 2) ** 2 + 4 * (math.log10(values["rate"]) + 2) ** 2 + (values["kind"] is not None)
    return bowl + 10 / epoch


def bowl(trial: Trial, *, reports: bool = True) -> float:
    values = {
        "x": trial.suggest_float("x", -5, 5),
        "rate": trial.suggest_float("rate", 1e-4, 1, log=True),
        "kind": trial.suggest_categorical("kind", ["a", None, True]),
        "size": trial.suggest_int("size", 8, 64, step=8),
    }
    for epoch in range(1, 10 if reports else 1):
        trial.report(value_at(values, epoch), epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value_at(values, 9)


def trials_of(study: optuna.Study) -> list[tuple[dict[str, Any], TrialState]]:
    return [(trial.params, trial.state) for trial in study.trials]


@pytest.mark.parametrize("reports", [True, False])
def test_it_finds_better_configurations_than_random_ones(reports: bool) -> None:
    def objective(trial: Trial) -> float:
        return bowl(trial, reports=reports)

    def mean_best(make: Callable[[int], optuna.samplers.BaseSampler]) -> float:
        studies = [optuna.create_study(sampler=make(seed)) for seed in range(3)]
        for study in studies:
            study.optimize(objective, n_trials=30)
        return sum(study.best_value for study in studies) / 3 - 10 / 9

    ours = mean_best(lambda seed: EmotuneSampler(seed=seed))
    assert ours < 0.5 * mean_best(lambda seed: optuna.samplers.RandomSampler(seed=seed))


def test_a_study_in_a_database_continues_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    def run(name: str, *, trials: int) -> optuna.Study:
        study = optuna.create_study(
            storage=f"sqlite:///{tmp_path / 'studies.db'}",
            study_name=name,
            load_if_exists=True,
            sampler=EmotuneSampler(max_budget=9, seed=5),
            pruner=optuna.pruners.SuccessiveHalvingPruner(1, 3),
        )
        study.optimize(bowl, n_trials=trials)
        return study

    undisturbed = run("undisturbed", trials=16)
    for _ in range(4):
        interrupted = run("interrupted", trials=4)
    assert trials_of(interrupted) == trials_of(undisturbed)
    assert TrialState.PRUNED in {state for _, state in trials_of(undisturbed)}


def test_a_maximised_objective_has_the_proposals_of_its_negative() -> None:
    studies = [
        optuna.create_study(direction=direction, sampler=EmotuneSampler()) for direction in ("minimize", "maximize")
    ]
    for study, sign in zip(studies, (1, -1), strict=True):
        study.optimize(lambda trial, sign=sign: sign * (trial.suggest_float("x", -1, 1) - 0.3) ** 2, n_trials=12)
    assert trials_of(studies[0]) == trials_of(studies[1])


def conditional() -> ConfigurationSpace:
    space = ConfigurationSpace()
    kind, momentum = Categorical("kind", ["adam", "sgd"]), Float("momentum", (0.0, 0.99))
    space.add(kind, momentum, Integer("layers", (1, 8), log=True), Constant("fixed", "yes"))
    space.add(Categorical("heads", [1, 2, 4], ordered=True), EqualsCondition(momentum, kind, "sgd"))
    return space


def test_conditions_are_those_of_the_space() -> None:
    space = conditional()

    def objective(trial: Trial) -> float:
        values = suggest(trial, space)
        assert ("momentum" in values) == (values["kind"] == "sgd")
        return abs(values.get("momentum", 2.0) - 0.9) + values["layers"] / values["heads"]

    study = optuna.create_study(sampler=EmotuneSampler(space=space))
    study.optimize(objective, n_trials=40)
    assert {trial.params["kind"] for trial in study.trials} == {"adam", "sgd"}
    assert study.best_params["kind"] == "sgd"
    assert study.best_value < 0.5


def test_failed_trials_are_avoided() -> None:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        return math.nan if x > 0.5 else -x

    study = optuna.create_study(sampler=EmotuneSampler(seed=1))
    study.optimize(objective, n_trials=40)
    failed = [trial.number for trial in study.trials if trial.state == TrialState.FAIL]
    assert 0 < sum(number >= 20 for number in failed) < 8


def test_trials_may_run_at_a_time() -> None:
    study = optuna.create_study(sampler=EmotuneSampler(max_budget=9))
    study.optimize(bowl, n_trials=16, n_jobs=4)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 16


def test_trials_of_another_space_are_no_results() -> None:
    study = optuna.create_study(sampler=EmotuneSampler())
    other = {"x": FloatDistribution(-50, 50), "rate": FloatDistribution(1e-4, 1, log=True)}
    study.add_trial(create_trial(params={"x": -40.0, "rate": 1e-3}, distributions=other, value=-1e9))
    study.add_trial(create_trial(state=TrialState.FAIL))
    study.optimize(bowl, n_trials=8)
    assert all(-5 <= trial.params["x"] <= 5 for trial in study.trials[2:])


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=EmotuneSampler(space=conditional()))
    with pytest.raises(SettingsError, match="the study has 2 objectives; expected one"):
        suggest(study.ask(), conditional())


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="max_budget: 3 was given; expected at least min_budget, which is 9"):
        EmotuneSampler(min_budget=9, max_budget=3)
    space = ConfigurationSpace({"x": NormalFloatHyperparameter("x", mu=0, sigma=1, lower=-3, upper=3)})
    with pytest.raises(SettingsError, match="x: NormalFloatHyperparameter has no distribution of Optuna"):
        EmotuneSampler(space=space)


distributions: st.SearchStrategy[BaseDistribution] = st.one_of(
    st.builds(lambda low, size, step: IntDistribution(low, low + step * size, step=step), *[st.integers(1, 50)] * 3),
    st.builds(lambda low, size: FloatDistribution(low, low + 0.25 * size, step=0.25), *[st.integers(1, 50)] * 2),
    st.builds(
        lambda low, factor: FloatDistribution(low, low * factor, log=True), st.floats(1e-6, 1), st.floats(2, 1e6)
    ),
    st.builds(
        CategoricalDistribution, st.lists(st.none() | st.booleans() | st.text(max_size=3), min_size=2, unique=True)
    ),
)


@given(distribution=distributions, seed=st.integers(0, 2**31 - 1))
def test_each_value_of_a_distribution_has_one_code(distribution: BaseDistribution, seed: int) -> None:
    code = Code(distribution)
    space = ConfigurationSpace({"a": code.hyperparameter("a")}, seed=seed)
    value = code.decode(plain(space.sample_configuration()["a"]))
    assert distribution._contains(distribution.to_internal_repr(value))
    assert code.decode(code.encode(value)) == value
