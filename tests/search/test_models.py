import logging
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace
from hpbandster.optimizers.config_generators.bohb import BOHB
from hypothesis import given
from hypothesis import strategies as st

from emotune.search import Optimizer, proposals
from emotune.search.history import Encoding, History
from emotune.search.models import MODELS, hpbandster, model_class
from emotune.search.models.hpbandster import Translation
from emotune.search.records import Evaluation
from emotune.search.settings import search_settings
from emotune.search.space import legal_values, values_of
from emotune.study.space import load_space
from tests.search.searching import documents, loss_of, mixed_space, run_to_the_end, space_of


def history_of(space: ConfigurationSpace, counts: dict[int, int], *, loss: Any = loss_of, seed: int = 0) -> History:
    """Return a history with random configurations, ``counts[rung]`` of which have results at a rung."""
    space.seed(seed)
    history = History(space)
    for number in range(max(counts.values())):
        values = values_of(space.sample_configuration())
        for rung, count in counts.items():
            if number < count:
                evaluation = Evaluation(
                    id=0,
                    config_id=number,
                    bracket=0,
                    rung=rung,
                    from_epoch=0,
                    to_epoch=3**rung,
                    values=values,
                    origin="random",
                )
                history.started(evaluation)
                value = loss(evaluation)
                history.ended(evaluation, loss=math.inf if value is None else value)
    return history


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("schedule", ["sync", "async"])
def test_late_configurations_come_from_the_model(model: str, schedule: str) -> None:
    optimizer = Optimizer(mixed_space(), evaluations=150, model=model, schedule=schedule)
    run_to_the_end(optimizer, loss=lambda each: loss_of(each, failures=9))
    late = [e.origin for e, _ in optimizer.results() if e.origin != "promotion"][-30:]
    expected = 1 - optimizer.settings.random_fraction
    assert late.count("model") / len(late) == pytest.approx(expected, abs=0.25)
    assert optimizer.fallbacks == 0


def test_the_first_configurations_are_random_and_later_ones_as_often_as_is_set() -> None:
    for model, first in (("rungs", 1.0), ("hpbandster", 0.3)):
        shares = [search_settings("bohb", {"model": model, "random_fraction": 0.3}).random_share(n) for n in range(60)]
        assert shares[0] == first
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] == 0.3


@pytest.mark.parametrize("model", MODELS)
def test_the_model_finds_the_good_region(model: str) -> None:
    space = load_space(
        {
            "hyperparameters": [
                {"name": "x", "type": "uniform_float", "lower": 0, "upper": 1},
                {"name": "y", "type": "ordinal", "sequence": ["s", "m", "l", "xl"]},
                {"name": "z", "type": "categorical", "choices": ["a", "b", "c"]},
            ]
        }
    )

    def loss(each: Evaluation) -> float:
        x, y, z = each.values["x"], each.values["y"], each.values["z"]
        return (float(x) - 0.3) ** 2 + 0.3 * (y != "l") + 0.3 * (z != "b")

    history = history_of(space, {0: 150}, loss=loss)
    proposed = []
    for seed in range(12):
        found = model_class(model)(space, history=history).propose(np.random.default_rng(seed))
        assert found is not None
        proposed.append(next(found))
    assert np.median([abs(float(values["x"]) - 0.3) for values in proposed]) < 0.15
    assert sum(values["z"] == "b" for values in proposed) >= 9
    assert sum(values["y"] == "l" for values in proposed) >= 5


@given(documents(), st.sampled_from(sorted(MODELS)), st.integers(0, 9))
def test_proposals_are_legal_and_repeatable(document: dict[str, Any], model: str, seed: int) -> None:
    space = space_of(document)
    history = history_of(space, {0: 24, 1: 8}, loss=lambda each: loss_of(each, failures=5))
    found = []
    for _ in range(2):
        proposed = model_class(model)(space, history=history).propose(np.random.default_rng(seed))
        if proposed is not None:
            found.append(next(proposed, None))
    assert found[:1] == found[1:]
    for values in found:
        if values is not None:
            assert legal_values(space, values=values) == values
            assert all(type(value) in {int, float, str, bool} for value in values.values())


@given(documents())
def test_translation_and_encoding_lead_back(document: dict[str, Any]) -> None:
    space = space_of(document)
    translation = Translation(space)
    encoding = Encoding(space)
    for configuration in space.sample_configuration(5):
        values = values_of(configuration)
        assert translation.back(translation.forward(values)) == values
        row = encoding.encode(values)
        assert {name for name, place in zip(encoding.names, row, strict=True) if not np.isnan(place)} == set(values)
        decoded = encoding.decode(np.nan_to_num(row))
        for name, value in values.items():
            assert decoded[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)
    for configuration in translation.space.sample_configuration(5) if len(translation.space) else []:
        back = translation.back({name: int(v) if hasattr(v, "item") else v for name, v in configuration.items()})
        assert back is None or legal_values(space, values=back) == back


def test_teaching_from_the_top_is_teaching_everything() -> None:
    space = ConfigurationSpace({"a": (0.0, 1.0), "b": (1, 9), "c": ["x", "y", "z"]})
    history = history_of(space, {0: 40, 1: 13, 2: 5})
    translation = Translation(space)
    generator = np.random.default_rng(0)
    with hpbandster.seeded(generator):
        whole = BOHB(translation.space, random_fraction=0)
        for rung in history.rungs:
            for number, loss in history.results(rung):
                config = translation.forward(history.configurations[number])
                kwargs = {"budget": rung, "config": config}
                whole.new_result(SimpleNamespace(id=0, exception=None, result={"loss": loss}, kwargs=kwargs))
        top = BOHB(translation.space, random_fraction=0)
        for rung in (2, 1):
            hpbandster.teach(top, history=history, rung=rung, translation=translation)
    assert max(whole.kde_models) == 1
    assert list(top.kde_models) == [1]
    for side in ("good", "bad"):
        ours, theirs = top.kde_models[1][side], whole.kde_models[1][side]
        assert np.array_equal(ours.data, theirs.data)
        assert np.array_equal(ours.bw, theirs.bw)


@pytest.mark.parametrize("side", ["good", "bad"])
def test_the_density_is_that_of_hpbandster_and_finite_for_choices_never_seen(side: str) -> None:
    space = ConfigurationSpace({"a": (0.0, 1.0), "b": (1, 9), "c": ["x", "y", "z"]})
    translation = Translation(space)
    for loss in (loss_of, lambda each: float(each.values["c"] != "x") + float(each.values["a"])):
        with hpbandster.seeded(np.random.default_rng(0)):
            model = BOHB(translation.space, random_fraction=0)
            history = history_of(space, {0: 60}, loss=loss)
            hpbandster.teach(model, history=history, rung=0, translation=translation)
        original = model.kde_models[0][side]
        ours = hpbandster.safe_density(original)
        points = [[0.1, 0.5, 0], [0.9, 0.25, 0], [0.4, 0.7, 2]]
        if len(np.unique(original.data[:, 2])) > 1:
            assert [ours.pdf(point) for point in points] == pytest.approx([float(original.pdf(p)) for p in points])
        else:
            assert ours.pdf([0.4, 0.7, 2]) < ours.pdf([0.4, 0.7, 0])
        assert np.isfinite([ours.pdf(point) for point in points]).all()


def test_a_model_that_cannot_propose_is_not_called_the_origin(caplog: pytest.LogCaptureFixture) -> None:
    space = mixed_space()
    history = history_of(space, {0: 40})
    asked = search_settings("bohb", {"model": "hpbandster", "random_fraction": 0.0})
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING, logger="emotune"):
        patch.setattr(hpbandster.HpBandSterModel, "propose", lambda *_: iter(()))
        proposal = proposals.sample(space, history=history, settings=asked, generator=np.random.default_rng(0))
    assert proposal.origin == "random"
    assert proposal.fell_back
    assert "no legal proposal" in caplog.text


@pytest.mark.parametrize("model", MODELS)
def test_configurations_are_new_while_there_are_new_ones(model: str) -> None:
    space = ConfigurationSpace({"a": ["p", "q", "r"], "b": (1, 8)})
    optimizer = Optimizer(space, evaluations=40, max_budget=1, model=model)
    run_to_the_end(optimizer)
    keys = [tuple(each.values.items()) for each, _ in optimizer.results()]
    assert len(set(keys[:18])) == 18
    assert len(keys) == 40, "an exhausted space is searched on"
