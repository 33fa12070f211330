import json
from typing import Any

import pytest
from ConfigSpace import Configuration
from ConfigSpace.util import deactivate_inactive_hyperparameters
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import SettingsError
from emotune.search.space import active_values, copy_of, plain, space_as_document, space_digest, values_of
from emotune.study.space import edges, load_space
from tests.search.searching import MIXED, documents, levels, mixed_space, space_of


@given(documents())
def test_a_space_is_read_from_its_own_document(document: dict[str, Any]) -> None:
    space = space_of(document)
    written = space_as_document(space)
    assert load_space(json.loads(json.dumps(written))) == space
    assert space_digest(load_space(written)) == space_digest(space) == space_digest(copy_of(space))


@given(documents())
def test_inactive_values_are_left_out_as_configspace_does(document: dict[str, Any]) -> None:
    space = space_of(document)
    for configuration in space.sample_configuration(5):
        values = {name: plain(space[name].default_value) for name in space} | values_of(configuration)
        assert active_values(space, values=values) == values_of(configuration)
        assert values_of(deactivate_inactive_hyperparameters(values, space)) == values_of(configuration)


def test_the_digest_does_not_depend_on_the_order_of_what_is_said() -> None:
    turned = {section: MIXED[section][::-1] for section in MIXED}
    assert space_digest(load_space(turned)) == space_digest(mixed_space())
    changed = json.loads(json.dumps(MIXED))
    changed["hyperparameters"][0]["upper"] = 0.2
    assert space_digest(load_space(changed)) != space_digest(mixed_space())


@given(documents())
def test_edges_are_legal_and_begin_with_the_default(document: dict[str, Any]) -> None:
    space = space_of(document)
    combinations = list(edges(space))
    assert combinations[0] == values_of(space.get_default_configuration())
    for values in combinations:
        Configuration(space, values=values).check_valid_configuration()
    keys = [json.dumps(values, sort_keys=True) for values in combinations]
    assert len(set(keys)) == len(keys)


def test_edges_reach_every_end_also_of_conditionals() -> None:
    space = mixed_space()
    combinations = list(edges(space))
    for item in MIXED["hyperparameters"]:
        for end in levels(item):
            assert any(values.get(item["name"]) == end for values in combinations), (item, end)
    default = values_of(space.get_default_configuration())
    ends_of_layers = [values for values in combinations if values["model.layers"] == 4]
    assert ends_of_layers == [default | {"model.layers": 4}]
    assert {"optim.momentum": 0.0}.items() <= next(v for v in combinations if v.get("optim.momentum") == 0.0).items()


def ranges(**changes: Any) -> dict[str, Any]:
    about = {"name": "optim.lr", "type": "uniform_float", "lower": 1e-5, "upper": 1e-2} | changes
    return {"hyperparameters": [{key: value for key, value in about.items() if value is not ...}]}


def condition(**changes: Any) -> dict[str, Any]:
    about = {"type": "EQ", "child": "optim.momentum", "parent": "optim.kind", "value": "sgd"} | changes
    return MIXED | {"conditions": [about]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (ranges(lower=0.1), ["optim.lr", "0.1", "below"]),
        (ranges(lower=0, log=True), ["optim.lr", "logarithmic"]),
        (ranges(lower=1e-15, log=True), ["optim.lr"]),
        (ranges(lower="1e-4"), ["optim.lr", "lower", "'1e-4'"]),
        (ranges(lower=True), ["optim.lr", "lower", "True"]),
        (ranges(upper=float("inf")), ["optim.lr", "upper", "inf"]),
        (ranges(upper=...), ["optim.lr", "upper"]),
        (ranges(default_value=7), ["optim.lr", "7"]),
        (ranges(q=0.1), ["optim.lr", "steps"]),
        (ranges(type="quniform_float"), ["optim.lr", "quniform_float"]),
        (ranges(type="uniform_int"), ["optim.lr", "integer"]),
        (ranges(step=3), ["optim.lr", "step"]),
        (ranges(name=...), ["name"]),
        (ranges(type="categorical", choices=[], lower=..., upper=...), ["optim.lr", "choices"]),
        (ranges(type="categorical", choices=[1, 1], lower=..., upper=...), ["optim.lr", "[1, 1]"]),
        (ranges(type="ordinal", sequence=[1, 2], default_value=3, lower=..., upper=...), ["optim.lr", "3"]),
        ({"hyperparameters": ranges()["hyperparameters"] * 2}, ["optim.lr"]),
        (condition(parent="optim.kinds"), ["'optim.kinds'", "Did you mean 'optim.kind'"]),
        (condition(value="rmsprop"), ["optim.momentum", "rmsprop"]),
        (condition(type="EQUALS"), ["EQUALS", "EQ"]),
        (condition(child="optim.kind", value="adam"), ["optim.kind"]),
        (condition(value=...), ["optim.momentum", "value"]),
        (MIXED | {"forbiddens": [{"type": "EQUALS", "name": "optim.kind", "value": "adam"}]}, ["optim.kind"]),
        ({"hyperparameter": []}, ["Did you mean 'hyperparameters'"]),
        ({}, ["hyperparameter"]),
        ({"hyperparameters": [3]}, ["3"]),
        ({"hyperparameters": {"a": 1}}, ["list"]),
    ],
)
def test_mistakes_are_named_in_one_line(document: dict[str, Any], words: list[str]) -> None:
    for section in document.values():
        for item in section if isinstance(section, list) else []:
            for key in [key for key, value in item.items() if value is ...] if isinstance(item, dict) else []:
                del item[key]
    with pytest.raises(SettingsError) as caught:
        load_space(document)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def refusal_of(document: dict[str, Any]) -> str:
    """Return the message with which a space is refused, or nothing."""
    try:
        load_space(document)
    except SettingsError as error:
        return str(error)
    return ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["name", "type", "lower", "upper", "choices", "sequence", "value", "default_value", "log", "weights"]
WORDS = ["uniform_float", "categorical", "ordinal", "constant", "a", "b"]


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(WORDS) | JSON), max_size=3), JSON, JSON)
def test_nothing_but_settings_errors_escapes(hyperparameters: list[Any], conditions: Any, forbiddens: Any) -> None:
    document = {"hyperparameters": hyperparameters, "conditions": conditions, "forbiddens": forbiddens}
    assert "\n" not in refusal_of(document)


@given(documents(), st.data())
def test_nothing_but_settings_errors_escapes_from_a_broken_document(
    document: dict[str, Any], data: st.DataObject
) -> None:
    items = [item for section in document.values() for item in section]
    item = items[data.draw(st.integers(0, len(items) - 1))]
    item[data.draw(st.sampled_from(sorted(item)))] = data.draw(JSON)
    assert "\n" not in refusal_of(document)
