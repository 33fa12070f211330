"""The simulated workers, and the protocol of the optimisers of this project."""

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import cells
from benchmarks.cells import POINTS, Cell, read, run, software_of, space_with_default
from benchmarks.optimisers import OPTIMISERS, is_installed, make
from benchmarks.optimisers.checkpoints import Checkpoints
from benchmarks.optimisers.conditions import active_only
from benchmarks.problems import EPOCHS, LADDER, problem_of
from benchmarks.scores import SHARES, bohb_tests, complete, interval, with_ranks
from benchmarks.simulation import Observation, Task, Work, incumbents, simulate

OURS = [name for name in OPTIMISERS if name.startswith("emotune")]


class CheckedOptimiser:
    """Forwards all calls to an optimiser, and checks the protocol."""

    def __init__(self, optimiser: object, *, workers: int) -> None:
        self.inner = optimiser
        self.workers = workers
        self.running: list[Work] = []
        self.epochs = 0
        self.trained = Checkpoints()

    def ask(self) -> Work | None:
        work = self.inner.ask()  # pyright: ignore[reportAttributeAccessIssue]
        if work is not None:
            assert work.from_epoch == self.trained.epochs(work.values)
            self.running.append(work)
            assert len(self.running) <= self.workers
        return work

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        assert 1 <= len(losses) <= work.to_epoch - work.from_epoch
        assert np.isfinite(losses[:-1]).all()
        assert np.isinf(losses[-1]) or len(losses) == work.to_epoch - work.from_epoch
        self.running = [other for other in self.running if other.key != work.key]
        self.epochs += len(losses)
        self.trained.trained(work.values, epochs=work.to_epoch)
        self.inner.tell(work, losses)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", ["random", *OURS])
@pytest.mark.parametrize("workers", [1, 3])
def test_optimisers_keep_to_the_protocol_and_the_budget(name: str, workers: int) -> None:
    problem = problem_of("learning_curves", seed=0)
    task = Task(problem.new_space(), 0, workers, problem.cost)
    checked = CheckedOptimiser(make(name, task), workers=workers)
    budget = 3.0
    observations = simulate(checked, problem, seed=0, workers=workers, budget=budget)
    times = [observation.time for observation in observations]
    assert times == sorted(times)
    assert times[-1] <= budget * EPOCHS
    assert {observation.epoch for observation in observations} <= set(LADDER)
    assert min(observation.regret for observation in observations) < 1
    if workers == 1:
        assert budget * EPOCHS - EPOCHS <= checked.epochs <= budget * EPOCHS


def test_a_run_is_reproducible() -> None:
    cell = Cell("emotune", "mfh3_good", 1, 4, "none", 6.0)
    first, second = run(cell), run(cell)
    assert first.regret == second.regret
    assert len(first.regret) == POINTS


def test_the_incumbent_is_the_best_at_the_highest_rung_so_far() -> None:
    observations = [
        Observation(1.0, 1, 0.5, 0.9),
        Observation(2.0, 3, 0.7, 0.8),
        Observation(3.0, 1, 0.1, 0.1),
        Observation(4.0, 3, 0.6, 0.4),
    ]
    assert incumbents(observations, times=[0.5, 1.0, 2.5, 3.5, 9.0]) == [1.0, 0.9, 0.8, 0.8, 0.4]


@pytest.mark.parametrize("name", ["mfh6_good", "learning_curves"])
def test_the_default_configuration_is_good_bad_or_random_as_requested(name: str) -> None:
    problem = problem_of(name, seed=0)
    regrets = {
        priors: problem.regret(dict(space_with_default(problem, seed=2, priors=priors).get_default_configuration()))
        for priors in ("good", "bad", "none")
    }
    assert regrets["good"] < 0.7
    assert regrets["good"] < regrets["none"] <= regrets["bad"]
    assert regrets["bad"] > 1


def test_results_are_read_back_and_an_incomplete_line_is_ignored(tmp_path: Path) -> None:
    result = run(Cell("random", "mfh3_good", 0, 1, "none", 2.0))
    journal = tmp_path / "cells.jsonl"
    other = json.dumps({**json.loads(result.line()), "software": "another version", "seed": 1})
    journal.write_text(result.line() + "\n" + other + "\n" + result.line()[:50])
    results = read(journal)
    assert list(results) == [result.cell]
    assert results[result.cell].regret == pytest.approx(result.regret, abs=1e-6)


def test_inactive_values_are_removed() -> None:
    space = problem_of("learning_curves", seed=0).new_space()
    for configuration in (space.sample_configuration() for _ in range(30)):
        filled = {name: configuration.get(name, space[name].default_value) for name in space}
        assert active_only(space, values=filled) == dict(configuration)


def test_a_peer_without_its_package_is_reported_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed("random")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert not is_installed("dehb")


BENCHMARKS = Path(cells.__file__).parent


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_is_a_class_of_its_adapter_and_its_package_is_pinned(name: str) -> None:
    entry = OPTIMISERS[name]
    adapter = ast.parse((BENCHMARKS / "optimisers" / f"{entry.module}.py").read_text())
    assert entry.make in {node.name for node in adapter.body if isinstance(node, ast.ClassDef)}
    lines = [line for file in BENCHMARKS.glob("requirements*.txt") for line in file.read_text().splitlines()]
    pinned = {re.split(r"[=\[]", line)[0].replace("-", "_").lower() for line in lines if "==" in line}
    package = (entry.distribution or entry.package).replace("-", "_").lower()
    assert package == "emotune" or package in pinned


def test_a_package_that_is_installed_under_another_name_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"neural-pipeline-search": "0.17.0", "HEBO": "0.3.6", "syne-tune": "0.16.0"}
    by_name = {name.lower(): version for name, version in versions.items()}
    monkeypatch.setattr("importlib.metadata.version", lambda name: by_name[name])
    for name, version in (("neps_priorband", "neps 0.17.0"), ("hebo", "hebo 0.3.6"), ("syne_asha", "syne_tune 0.16.0")):
        assert software_of.__wrapped__(name).startswith(f"{version}, adapter ")


def rows(regrets: dict[str, list[float]]) -> pd.DataFrame:
    columns = [f"regret at {share:.0%}" for share in SHARES]
    return pd.DataFrame(
        [
            {"optimiser": name, "problem": "p", "seed": seed, "workers": 1, **dict.fromkeys(columns, value)}
            for name, values in regrets.items()
            for seed, value in enumerate(values)
        ]
    )


def test_the_verdict_names_the_better_optimiser() -> None:
    seeds = np.arange(12) / 100
    table = rows({"hpbandster_bohb": (0.3 + seeds).tolist(), "emotune": (0.1 + seeds**2).tolist()})
    tests = bohb_tests(table).set_index("problem")
    assert tests.loc["p", "verdict"] == "better"
    assert tests.loc["all", "p"] < 0.01
    swapped = rows({"hpbandster_bohb": (0.1 + seeds**2).tolist(), "emotune": (0.3 + seeds).tolist()})
    assert set(bohb_tests(swapped)["verdict"]) == {"worse"}


def test_ranks_compare_complete_seeds_only() -> None:
    table = complete(rows({"random": [0.2, 0.4, 0.1], "emotune": [0.1, 0.4]}))
    assert sorted(table["seed"].unique()) == [0, 1]
    ranked = with_ranks(table).set_index(["optimiser", "seed"])["rank at 100%"]
    assert ranked["emotune", 0] == 1
    assert ranked["random", 1] == ranked["emotune", 1] == 1.5


def test_a_95_percent_interval_contains_the_mean_in_95_percent_of_samples() -> None:
    random = np.random.default_rng(0)
    intervals = [interval(random.normal(size=8)) for _ in range(2000)]
    assert np.mean([abs(mean) <= half for mean, half in intervals]) == pytest.approx(0.95, abs=0.015)
