"""Contract of every searcher of the table, in each of its combinations."""

import json
import subprocess
import sys

import pytest
from ConfigSpace import ConfigurationSpace

from emotune.search import Evaluation, Optimizer
from emotune.search.models import MODELS, model_class
from emotune.search.models.base import Model
from emotune.search.schedule import rungs
from emotune.search.settings import NO_MODEL, SEARCHERS, search_settings
from tests.search.checker import violations

COMBINATIONS = [
    (kind, schedule, model, order)
    for kind, searcher in SEARCHERS.items()
    for schedule in searcher.schedules
    for model in searcher.models
    for order in ("strict", "free")
]


def space() -> ConfigurationSpace:
    return ConfigurationSpace({"lr": (0.0, 1.0), "layers": (1, 4), "kind": ["a", "b"]})


def loss(evaluation: Evaluation) -> float | None:
    lr = float(evaluation.values["lr"])
    return None if lr > 0.9 else (lr - 0.4) ** 2 + 1 / evaluation.to_epoch


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    kind, schedule, model, order = request.param
    return Optimizer(
        space(), 1, 9, kind=kind, schedule=schedule, model=model, order=order, concurrency=3, evaluations=45
    )


def test_a_search_reaches_its_end_and_can_be_restored_at_any_time(optimizer: Optimizer) -> None:
    first = optimizer.ask()
    assert first is not None
    assert first.values == dict(space().get_default_configuration())
    assert first.origin == "default"
    while not optimizer.finished:
        while optimizer.ask():
            assert len(optimizer.running()) <= 3
        newest = optimizer.running()[-1]
        optimizer.tell(newest.id, loss(newest))
        if newest.id % 7 == 0:
            optimizer = Optimizer.from_state(space(), json.loads(json.dumps(optimizer.state())))
    assert optimizer.ask() is None
    assert len(optimizer.results()) == 45
    assert violations(optimizer.settings, optimizer.results()) == []
    budgets = {evaluation.to_epoch for evaluation, _ in optimizer.results()}
    assert budgets <= set(rungs(1, 9, 3))
    assert 9 in budgets
    assert (optimizer.settings.schedule == "full") == (budgets == {9})
    origins = {evaluation.origin for evaluation, _ in optimizer.results()}
    assert ("model" in origins) == (optimizer.settings.model != "none")


def test_every_searcher_has_a_description_and_known_models() -> None:
    for kind, searcher in SEARCHERS.items():
        assert searcher.sentence
        assert search_settings(kind, {}).schedule == searcher.schedules[0]
    assert {model for searcher in SEARCHERS.values() for model in searcher.models} == {*MODELS, NO_MODEL}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_states_its_defaults_and_capabilities(name: str) -> None:
    model = model_class(name)
    assert issubclass(model, Model)
    settings = search_settings("bohb", {"model": name})
    assert settings.schedule == model.schedules[0]
    assert settings.random_fraction == model.default_random_fraction
    assert set(model.schedules) <= set(SEARCHERS["bohb"].schedules)
    shares = [settings.random_share(number) for number in range(99)]
    assert all(0 <= share <= 1 for share in shares)
    assert shares[-1] == settings.random_fraction


SLOW_IMPORTS = {"ray", "torch", "mlflow", "pandas", "sklearn", "statsmodels", "hpbandster"}
SEARCH = """
from ConfigSpace import ConfigurationSpace
from emotune.search import Optimizer
optimizer = Optimizer(ConfigurationSpace({"lr": (0.0, 1.0)}), evaluations=30, kind=%r)
while (evaluation := optimizer.ask()) is not None:
    optimizer.tell(evaluation.id, evaluation.values["lr"])
"""


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import emotune.search", SLOW_IMPORTS | {"numpy", "scipy", "scipy.stats", "ConfigSpace"}),
        ("import emotune.search.records, emotune.search.ranking", SLOW_IMPORTS | {"numpy", "scipy", "ConfigSpace"}),
        ("import emotune.search.settings, emotune.search.stopping", SLOW_IMPORTS | {"numpy", "scipy", "ConfigSpace"}),
        (SEARCH % "bohb", SLOW_IMPORTS),
        (SEARCH % "asha", SLOW_IMPORTS),
    ],
    ids=["package", "records", "settings", "search with Gaussian processes", "search without a model"],
)
def test_libraries_are_imported_only_when_they_are_used(code: str, absent: set[str]) -> None:
    report = f"{code}\nimport sys; print(sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
