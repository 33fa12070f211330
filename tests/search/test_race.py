"""A configuration that is out of the race is never promoted, also if the search is extended by a bracket."""

from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from emotune.search import Optimizer
from emotune.search.models.gain import GainModel
from emotune.search.settings import SearchSettings
from emotune.search.stopping import candidates_left
from tests.search.searching import loss_of, mixed_space

searches = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["hyperband", "asha", "random"]),
        "max_budget": st.sampled_from([3, 9, 10]),
        "eta": st.integers(2, 3),
        "seed": st.integers(0, 99),
        "concurrency": st.integers(1, 4),
        "order": st.sampled_from(["strict", "free"]),
    }
)
limits = st.sampled_from([{"brackets": 1}, {"brackets": 3}, {"evaluations": 20}, {"evaluations": 9, "brackets": 4}])


class Race:
    """Runs a search, and remembers which configurations were out of the race."""

    def __init__(self, optimizer: Optimizer, *, failures: int) -> None:
        self.optimizer = optimizer
        self.failures = failures
        self.out: set[int] = set()

    def run(self) -> None:
        while not self.optimizer.finished:
            evaluation = self.optimizer.ask()
            if evaluation is not None:
                assert evaluation.config_id not in self.out, evaluation
                continue
            running = self.optimizer.running()
            last = running[-1]
            self.optimizer.tell(last.id, loss_of(last, failures=self.failures))
            out = self.optimizer.out_of_race()
            assert self.out <= out, "it stays out of the race"
            assert not out & {evaluation.config_id for evaluation in self.optimizer.running()}
            self.out = out


@given(searches, limits, st.sampled_from([0, 3, 7]))
def test_what_is_out_of_the_race_is_never_promoted(
    search: dict[str, Any], limit: dict[str, int], failures: int
) -> None:
    race = Race(Optimizer(mixed_space(), **search, **limit), failures=failures)
    race.run()
    configurations = {evaluation.config_id for evaluation, _ in race.optimizer.results()}
    event("share out of the race", payload=round(len(race.out) / len(configurations), 1))
    settings = race.optimizer.settings
    race.out = race.optimizer.out_of_race()
    race.optimizer.extend(
        brackets=None if settings.brackets is None else settings.brackets + 1,
        evaluations=None if settings.brackets is not None else len(configurations) + 40,
    )
    if settings.brackets is not None and settings.evaluations is None:
        race.run()


@pytest.mark.parametrize("kind", ["hyperband", "asha", "random"])
def test_at_the_end_of_a_search_many_configurations_are_out_of_the_race(kind: str) -> None:
    race = Race(Optimizer(mixed_space(), max_budget=27, brackets=4, kind=kind), failures=0)
    race.run()
    configurations = {evaluation.config_id for evaluation, _ in race.optimizer.results()}
    least = {"hyperband": 1.0, "asha": 0.3, "random": 1.0}[kind]
    assert len(race.out) >= least * len(configurations)


def test_a_search_without_a_limit_keeps_all_that_wait() -> None:
    optimizer = Optimizer(mixed_space(), max_budget=9, kind="asha")
    for _ in range(30):
        evaluation = optimizer.ask()
        assert evaluation is not None
        optimizer.tell(evaluation.id, loss_of(evaluation))
    top = {evaluation.config_id for evaluation, _ in optimizer.results() if evaluation.to_epoch == 9}
    assert optimizer.out_of_race() == top


@pytest.mark.parametrize("promotions", [0, 1, 5])
def test_a_model_that_promotes_any_of_the_best_keeps_as_many_in_the_race(promotions: int) -> None:
    """With ``gain`` the best one need not be the next that is promoted."""
    limits = {"max_budget": 3, "brackets": 1}
    rungs, gain = (SearchSettings(kind="bohb", model=model, **limits) for model in ("rungs", "gain"))
    step = rungs.rung_budgets[1] - rungs.rung_budgets[0]
    longer = rungs.model_copy(update={"brackets": 2}).bracket_epochs
    spent = {"evaluations": 40, "epochs": longer - promotions * step}
    assert candidates_left(rungs, **spent) == [promotions]
    assert candidates_left(gain, **spent) == [promotions + GainModel.considered - 1 if promotions else 0]
