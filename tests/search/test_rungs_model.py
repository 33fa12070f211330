"""Promises of the model that learns from all rungs, part by part."""

import math
from typing import Any

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from emotune.search import Optimizer, proposals
from emotune.search.history import History
from emotune.search.models import acquisition
from emotune.search.models.acquisition import rung_weights
from emotune.search.models.candidates import NEAR, WIDE, anywhere, as_values, nearby
from emotune.search.models.gp import MEAN_VARIANCE, GaussianProcess, climb, embed
from emotune.search.models.multifidelity import (
    MAX_RESULTS,
    MIN_RESULTS,
    MultiFidelityGP,
    all_rung_weights,
    standardised,
    training_subset,
)
from emotune.search.records import Evaluation
from emotune.search.space import legal_values
from tests.search.searching import documents, mixed_space, run_to_the_end, space_of
from tests.search.test_models import history_of

RUNG_BUDGETS = (1, 3, 9, 27)
NO_TREND = np.empty((0, 2))


def no_columns(count: int) -> np.ndarray:
    return np.empty((count, 0))


def test_the_process_is_the_textbook_one() -> None:
    generator = np.random.default_rng(0)
    rows = generator.random((40, 2))
    choices = np.zeros(2, dtype=int)
    targets = np.sin(6 * rows[:, 0]) * rows[:, 1] + 0.01 * generator.standard_normal(40)
    fitted = GaussianProcess(
        embed(rows, choices=choices), targets, trend=no_columns(40), trend_prior=NO_TREND, variance=1.0
    )
    length, additive, _ = fitted._hyperparameters
    assert additive < 0.5
    points = generator.random((9, 2))
    mean, variance = fitted.predict(embed(points, choices=choices), trend=no_columns(9))
    assert mean == pytest.approx(np.sin(6 * points[:, 0]) * points[:, 1], abs=0.15)
    if additive == 0:
        kernel = Matern(length * math.sqrt(2), nu=2.5) + ConstantKernel(MEAN_VARIANCE)
        other = GaussianProcessRegressor(kernel + WhiteKernel(fitted.noise / fitted.scale), optimizer=None)
        expected, spread = other.fit(rows, targets).predict(points, return_std=True)
        assert mean == pytest.approx(expected, abs=1e-6)
        assert variance / fitted.scale == pytest.approx(spread**2 - fitted.noise / fitted.scale, abs=1e-6)


def test_the_textbook_one_without_an_additive_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.search.models.gp.GRIDS", ((0.1, 0.2, 0.35), (0.0,), (1e-3, 0.05)))
    monkeypatch.setattr("emotune.search.models.gp.ADDITIVE_SHARES", (0.0,))
    monkeypatch.setattr("emotune.search.models.gp.PRIOR_MODE", (1, 0, 1))
    test_the_process_is_the_textbook_one()


def test_a_trend_is_followed_and_an_unrelated_one_is_not() -> None:
    generator = np.random.default_rng(1)
    rows = generator.random((60, 3))
    choices = np.zeros(3, dtype=int)
    related, unrelated = generator.standard_normal((2, 60))
    fitted = GaussianProcess(
        embed(rows, choices=choices),
        2 * related + 0.1 * generator.standard_normal(60),
        trend=np.stack([unrelated, related], axis=1),
        trend_prior=np.array([[0.0, 1.0], [0.9, 1.0]]),
        variance=0.3,
    )
    assert fitted.coefficients == pytest.approx([0, 2], abs=0.1)


def test_what_runs_is_believed_to_end_as_expected() -> None:
    history = history_of(mixed_space(), {0: 12, 1: 5}, loss=lambda each: float(each.values["optim.lr"]))
    process = MultiFidelityGP(history)
    generator = np.random.default_rng(2)
    running = anywhere(2, choices=history.encoding.choices, generator=generator)
    points = process.points(
        np.concatenate([running, anywhere(9, choices=history.encoding.choices, generator=generator)])
    )
    before, after = process.predict(points)[-1], process.believing(running).predict(points)[-1]
    assert after.mean == pytest.approx(before.mean, abs=1e-6), "nothing new is learnt from it"
    assert (after.variance <= before.variance + 1e-9).all()
    assert (after.variance[:2] < 0.9 * before.variance[:2]).all(), "but there is less to be learnt where it runs"


@given(st.integers(0, 2**20))
def test_climbing_ends_where_no_step_is_better(seed: int) -> None:
    sizes = (3, 4, 2)
    heights = np.random.default_rng(seed).random(sizes)
    place = climb(lambda at: float(heights[at]), (1, 1, 0), sizes=sizes)
    for axis in range(3):
        for step in (-1, 1):
            beside = list(place)
            beside[axis] += step
            if 0 <= beside[axis] < sizes[axis]:
                assert heights[tuple(beside)] <= heights[place]


def test_choices_and_inactive_values_are_away_from_all_others() -> None:
    rows = np.array([[0.2, 0.0], [0.2, 1.0], [np.nan, 1.0], [0.9, 1.0], [np.nan, 1.0]])
    positions = embed(rows, choices=np.array([0, 3])).positions
    distance = np.linalg.norm(positions[:, None] - positions, axis=2)
    assert distance[2, 4] == 0
    assert (distance[np.triu_indices(4, 1)] > 0.2).all()


@given(documents(), st.sampled_from([WIDE, NEAR]), st.integers(0, 99))
def test_neighbours_can_be_decoded(document: dict[str, Any], where: Any, seed: int) -> None:
    space = space_of(document)
    encoding = History(space).encoding
    generator = np.random.default_rng(seed)
    centres = anywhere(3, choices=encoding.choices, generator=generator)
    centres[generator.random(centres.shape) < 0.2] = np.nan
    rows = nearby(centres, where, count=7, choices=encoding.choices, generator=generator)
    for values in as_values(rows, space=space, encoding=encoding):
        legal = legal_values(space, values=values)
        assert legal is None or legal == pytest.approx(values)


@example([0.0, 28.0, 2.2250738585072014e-308])
@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.inf), min_size=1, max_size=30))
def test_standardised_losses_keep_their_order(losses: list[float]) -> None:
    found = standardised(losses)
    assert np.isfinite(found).all()
    for one, other in zip(np.argsort(losses, kind="stable"), np.argsort(losses, kind="stable")[1:], strict=False):
        assert found[one] <= found[other]


def test_the_best_and_the_latest_are_learnt_from() -> None:
    losses = np.random.default_rng(0).random(1000)
    chosen = training_subset(losses)
    assert len(chosen) == len(set(chosen)) == MAX_RESULTS
    assert set(np.argsort(losses)[: MAX_RESULTS // 2]) <= set(chosen)
    assert {999, 998} <= set(chosen)


@pytest.mark.parametrize(("sign", "least", "most"), [(1, 0.9, 1.0), (-1, 0.0, 0.15)])
def test_a_rung_counts_as_far_as_it_agrees_with_the_highest(sign: int, least: float, most: float) -> None:
    space = ConfigurationSpace({"x": (0.0, 1.0), "y": (0.0, 1.0)})
    turn = lambda each: float(each.values["x"]) * (sign if each.rung else 1)  # noqa: E731
    weights = rung_weights(history_of(space, {0: 40, 1: 20}, loss=turn))
    assert weights[1] == 1.0
    assert least <= weights[0] <= most
    assert rung_weights(history_of(space, {0: MIN_RESULTS - 1})) == {}


def test_noise_is_not_trusted() -> None:
    space = ConfigurationSpace({"x": (0.0, 1.0), "y": (0.0, 1.0)})
    noise = iter(np.random.default_rng(0).random(100))
    weights = rung_weights(
        history_of(space, {0: 40, 1: 20}, loss=lambda each: next(noise) if each.rung == 0 else each.values["x"])
    )
    assert weights[0] < 0.4


def test_before_there_are_results_the_usual_is_expected() -> None:
    history = History(mixed_space())
    trusted = all_rung_weights(history, MultiFidelityGP(history), rung_count=4)
    assert trusted[3] == 1.0
    assert 0.6 < trusted[0] < trusted[1] < trusted[2] < 1


def test_shares_follow_trust_and_price() -> None:
    history = History(mixed_space())
    cheap = acquisition.start_shares(history, dict.fromkeys(range(4), 1.0), rung_budgets=RUNG_BUDGETS, eta=3)
    assert cheap.argmax() == 0
    assert cheap.sum() == pytest.approx(1)
    costs = [acquisition.epochs_per_start(rung, rung_budgets=RUNG_BUDGETS, eta=3) for rung in range(4)]
    assert costs == pytest.approx([1 + 2 / 3 + 6 / 9 + 18 / 27, 3 + 6 / 3 + 18 / 9, 9 + 18 / 3, 27])
    late = history_of(mixed_space(), {3: 40})
    assert acquisition.epochs_spent(late, rung_budgets=RUNG_BUDGETS) == 40 * 27
    honest = acquisition.start_shares(late, {0: 0.0, 1: 0.0, 2: 0.1, 3: 1.0}, rung_budgets=RUNG_BUDGETS, eta=3)
    assert honest.argmax() == 3
    both = history_of(mixed_space(), {0: 9, 1: 3})
    assert acquisition.epochs_spent(both, rung_budgets=RUNG_BUDGETS) == 9 + 3 * 2


def test_the_expected_best_of_many_is_right() -> None:
    generator = np.random.default_rng(0)
    for count, expected in zip(acquisition.SAMPLE_COUNTS, acquisition.EXPECTED_MAXIMA, strict=True):
        drawn = generator.standard_normal((4000, count)).max(axis=1)
        assert drawn.mean() == pytest.approx(expected, abs=0.06)


def test_configurations_begin_where_the_rungs_below_say_nothing() -> None:
    noise = iter(np.random.default_rng(0).random(1000))
    optimizer = Optimizer(mixed_space(), model="rungs", schedule="async", evaluations=90)
    run_to_the_end(
        optimizer,
        loss=lambda each: each.values["optim.lr"] if each.rung == 3 else next(noise),  # type: ignore[return-value]
    )
    new = [each for each, _ in optimizer.results() if each.origin != "promotion"]
    assert {each.from_epoch for each in new} == {0}
    assert sum(each.rung == 3 for each in new[-20:]) >= 10


def test_the_prior_fades_and_falls_when_it_loses() -> None:
    space = ConfigurationSpace({"x": (0.0, 1.0)})
    fresh = History(space)
    assert proposals.prior_weight(fresh) == pytest.approx(0.5)

    def told(loss: float) -> History:
        history = history_of(space, {0: 12}, loss=lambda each: 1.0)
        about = {"bracket": 0, "rung": 0, "from_epoch": 0, "to_epoch": 1, "origin": "prior"}
        evaluation = Evaluation(id=1, config_id=12, values={"x": 0.5}, **about)
        history.started(evaluation)
        history.ended(evaluation, loss=loss)
        return history

    assert proposals.prior_comparisons(told(0.0)) == (12, 12)
    assert proposals.prior_comparisons(told(1.0)) == (6, 12)
    assert 0 < proposals.prior_weight(told(0.0)) < proposals.prior_weight(fresh)
    assert proposals.prior_weight(told(2.0)) == 0


@pytest.mark.parametrize("schedule", ["sync", "async"])
def test_what_is_known_to_be_good_is_tried_first_and_near_it_more_often(schedule: str) -> None:
    space = ConfigurationSpace({"x": (0.0, 1.0), "y": (0.0, 1.0)})
    known = ({"x": 0.91, "y": 0.13}, {"x": 0.83, "y": 0.2})
    optimizer = Optimizer(space, model="rungs", schedule=schedule, evaluations=40, earlier=known)
    run_to_the_end(optimizer, loss=lambda each: abs(float(each.values["x"]) - 0.9) + float(each.values["y"]))
    new = [each for each, _ in optimizer.results() if each.origin != "promotion"]
    assert [(each.origin, each.values) for each in new[1:3]] == [("prior", dict(each)) for each in known]
    later = [each for each in new[3:] if each.origin == "prior"]
    assert later
    assert any(abs(float(each.values["x"]) - 0.9) < 0.3 for each in later)
