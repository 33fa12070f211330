"""Studies of a user's trainable: what they accept, what decides their results, how they are recorded."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ConfigSpace import ConfigurationSpace, Float
from ray import tune

import emotune
from emotune.errors import SettingsError, StudyChangedError
from emotune.search.records import Opened
from emotune.study.recorded import can_resume, kind_of
from emotune.study.resume import as_recorded
from emotune.study.resumption import recorded_study
from emotune.study.trainable_study import (
    TrainableStudy,
    describe_study,
    import_trainable,
    name_of,
    read_trainable_study,
)
from tests.runtime.test_coordinator import STUDY


class Nothing(tune.Trainable):
    """A trainable that is never trained."""


def train(config: dict[str, Any], epochs: int, checkpoint: Path) -> dict[str, float]:
    """Return nothing."""
    return {}


def study(trainable: Any = train, **settings: Any) -> TrainableStudy:
    space = ConfigurationSpace()
    space.add(Float("x", (0.0, 1.0)))
    known = {"space": space, "budget": emotune.Budget(1, 9), "metric": "loss", **settings}
    return read_trainable_study(describe_study(trainable, settings=known, mode="min"))


def opened(first: TrainableStudy) -> Opened:
    return Opened(time=0, name="mine", study=first.as_document(), digest="", seed=0, concurrency=1, software={})


@pytest.mark.parametrize("trainable", [train, Nothing], ids=["function", "class"])
def test_it_is_recorded_as_it_was_given_and_can_be_imported_again(trainable: Any) -> None:
    first = study(trainable, constants={"data": "/d", "depth": [1, 2]}, searcher={"kind": "asha"}, patience=3.0)
    document = first.as_document()
    assert kind_of(document) == "trainable"
    assert recorded_study(document) == first
    assert can_resume(document)
    assert import_trainable(first.trainable) is trainable
    assert first.cost({"x": 1.0}) == 1.0


def test_what_a_script_or_a_function_defines_cannot_be_imported_again() -> None:
    def local(config: dict[str, Any], epochs: int, checkpoint: Path) -> dict[str, float]:
        return {}

    assert not can_resume(study(local).as_document())
    assert not can_resume({"trainable": "__main__:Mine"})
    assert not can_resume({"trainable": {"kind": "tuner"}})


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"__file__": "/somewhere/training.py", "__spec__": None}, "training:train"),
        ({"__file__": "/somewhere/my training.py", "__spec__": None}, "__main__:train"),
        ({"__spec__": SimpleNamespace(name="package.training")}, "package.training:train"),
        ({"__spec__": None}, "__main__:train"),
    ],
    ids=["script", "no module's name", "python -m", "notebook"],
)
def test_a_script_has_the_name_of_its_file(
    attributes: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    del main.__spec__
    vars(main).update(attributes)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(train, "__module__", "__main__")
    assert name_of(train) == expected


@pytest.mark.parametrize(
    ("change", "decides"),
    [
        ({"constants": {"data": "other"}}, True),
        ({"searcher": {"kind": "asha"}}, True),
        ({"metric": "error"}, True),
        ({"resources": {"CPU": 2}}, False),
        ({"patience": 5.0}, False),
    ],
    ids=str,
)
def test_a_search_resumes_with_the_settings_that_decide_its_results(change: dict[str, Any], decides: bool) -> None:
    first = study(constants={"data": "one"})
    changed = study(**({"constants": {"data": "one"}} | change))
    assert (first.digest() != changed.digest()) is decides
    if decides:
        with pytest.raises(StudyChangedError, match="the search 'mine' was started from another study"):
            as_recorded(changed, [opened(first)], amounts={})
    else:
        assert as_recorded(changed, [opened(first)], amounts={}) == changed


def test_a_name_of_the_other_kind_of_study_is_refused() -> None:
    experiment = Opened(time=0, name="mine", study=STUDY.as_document(), digest="", seed=0, concurrency=1, software={})
    with pytest.raises(StudyChangedError, match="the search 'mine' trains an experiment of emotune"):
        as_recorded(study(), [experiment], amounts={})
    with pytest.raises(StudyChangedError, match="the search 'mine' trains a trainable of your own"):
        as_recorded(STUDY, [opened(study())], amounts={})


@pytest.mark.parametrize(
    ("trainable", "settings", "expected"),
    [
        (3, {}, "trainable: 3 was given; expected a subclass of ray.tune.Trainable, or a function"),
        (lambda config: {}, {}, "expected a subclass of ray.tune.Trainable, or a function train"),
        (dict, {}, "expected a subclass of ray.tune.Trainable"),
        (train, {"space": {"x": 1}}, "space: .* was given; expected a ConfigSpace.ConfigurationSpace"),
        (train, {"budget": 27}, r"budget: 27 was given; expected an emotune.Budget, such as Budget\(1, 27\)"),
        (train, {"constants": {"x": 1}}, "emotune.search: x is in constants and in the space; leave one out"),
        (train, {"constants": {"f": print}}, "expected numbers and text only"),
        (train, {"resources": {"CPU": -1}}, "emotune.search: .*expected amounts of 0 or more"),
        (train, {"resources": {}}, "expected at least one resource"),
        (train, {"searcher": {"kind": "boh"}}, "emotune.search: "),
    ],
)
def test_what_is_impossible_is_refused_in_a_line(trainable: Any, settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected) as refused:
        study(trainable, **settings)
    assert "\n" not in str(refused.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"space and metric: missing; expected emotune.search\(train, space="):
        describe_study(train, settings={"budget": emotune.Budget(1, 9)}, mode="min")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere.at_all:Mine", "the module nowhere.at_all cannot be imported: ModuleNotFoundError"),
        (f"{__name__}:trian", "there is no 'trian' in .*Did you mean 'train'"),
        (f"{__name__}:STUDY", "expected a subclass of ray.tune.Trainable"),
    ],
)
def test_a_trainable_that_cannot_be_imported_is_named(name: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        import_trainable(name)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: emotune.Budget(27, 1), "min 27 is above max 1; swap them"),
        (lambda: emotune.Budget(0, 9), "min Input should be greater than or equal to 1"),
        (lambda: emotune.Budget(1, 9, 3), r"expected Budget\(min, max, eta=3\)"),
    ],
)
def test_an_impossible_budget_is_refused(make: Any, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        make()
    assert emotune.Budget(1, 27, eta=3) == emotune.Budget(min=1, max=27)
