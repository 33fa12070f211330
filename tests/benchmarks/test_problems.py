"""The problems have their known answers, and the same curves for all optimisers."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.problems import EPOCHS, PROBLEMS, problem_of
from benchmarks.problems.base import Problem
from benchmarks.problems.grids import DIGITS_MLP, cells
from benchmarks.problems.hartmann import SIX, THREE, WEIGHTS, hartmann

DRAWS = 60


@pytest.fixture(params=PROBLEMS)
def problem(request: pytest.FixtureRequest) -> Problem:
    return problem_of(request.param, seed=3)


def test_no_random_configuration_is_better_than_the_best_known(problem: Problem) -> None:
    truths = [problem.truth(values) for values in problem.draw(DRAWS, seed=1)]
    assert min(truths) >= problem.best - 1e-4
    assert problem.best < problem.median < math.inf


def test_curves_are_a_function_of_values_and_seed(problem: Problem) -> None:
    for values in problem.draw(5, seed=2):
        curve = problem.curve(values, 4)
        assert curve.shape == (EPOCHS,)
        np.testing.assert_array_equal(curve, problem.curve(dict(reversed(values.items())), 4))
        broken = ~np.isfinite(curve)
        assert not (np.diff(broken.astype(int)) < 0).any(), "a diverged curve stays diverged"
        assert math.isinf(problem.truth(values)) == broken.any()
        assert problem.cost(values) > 0


def test_held_out_families_have_different_members() -> None:
    for name in PROBLEMS:
        first, second = problem_of(name, seed=0), problem_of(name, seed=1)
        assert first.held_out == name.startswith("held_")
        assert (first is not second) == first.held_out


@pytest.mark.parametrize(
    ("bumps", "optimum"),
    [
        (THREE, (0.114614, 0.555649, 0.852547)),
        (SIX, (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)),
    ],
)
def test_hartmann_has_its_published_optimum(bumps: object, optimum: tuple[float, ...]) -> None:
    assert isinstance(bumps, type(THREE))
    assert float(hartmann(np.array(optimum), bumps=bumps, weights=WEIGHTS)) == pytest.approx(bumps.best, abs=1e-4)


def test_bias_and_noise_of_hartmann_fall_to_zero_with_the_epochs() -> None:
    problem = problem_of("mfh6_bad", seed=0)
    drawn = problem.draw(200, seed=5)
    curves = np.array([problem.curve(values, 0) for values in drawn])
    truths = np.array([problem.truth(values) for values in drawn])
    errors = np.abs(curves - truths[:, None]).mean(axis=0)
    assert errors[-1] == pytest.approx(0, abs=1e-12)
    assert errors[0] > errors[2] > errors[8] > 0.1


def test_counting_ones_has_its_optimum_at_all_ones() -> None:
    problem = problem_of("counting_ones", seed=0)
    names = list(problem.new_space())
    ones = {name: "one" if name.startswith("choice") else 1.0 for name in names}
    assert problem.truth(ones) == problem.best == -16
    assert problem.curve(ones, 0).tolist() == [-16.0] * EPOCHS


def test_some_learning_curves_diverge_and_no_better_optimum_is_found() -> None:
    problem = problem_of("learning_curves", seed=0)
    drawn = problem.draw(400, seed=6)
    truths = np.array([problem.truth(values) for values in drawn])
    assert 0.1 < np.isinf(truths).mean() < 0.2
    fixed = {"optimiser": "adam", "augmentation": "mask", "layers": 4, "width": 96, "warmup": 0}

    def truth(point: np.ndarray) -> float:
        lr, dropout, share = np.clip(point, [-5, 0, 0.05], [0, 0.6, 0.9]).tolist()
        return problem.truth({**fixed, "lr": 10**lr, "dropout": dropout, "mask_share": share})

    result = minimize(truth, np.array([-3.0, 0.2, 0.4]), method="Nelder-Mead", tol=1e-9)
    assert result.fun == pytest.approx(problem.best, abs=1e-5)


def test_a_table_has_every_configuration_of_its_space() -> None:
    problem = problem_of("digits_mlp", seed=0)
    space = problem.new_space()
    assert int(space.estimate_size()) == len(cells(DIGITS_MLP))
    assert min(problem.regret(values) for values in problem.draw(300, seed=7)) >= 0
