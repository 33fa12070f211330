"""Search spaces and losses for the tests of the search core."""

import zlib
from collections.abc import Callable
from typing import Any

from ConfigSpace import ConfigurationSpace
from hypothesis import strategies as st

from emotune.errors import SettingsError
from emotune.search import Evaluation, Optimizer
from emotune.search.records import Value
from emotune.study.space import load_space

MIXED: dict[str, Any] = {
    "hyperparameters": [
        {"name": "optim.lr", "type": "uniform_float", "lower": 1e-5, "upper": 1e-1, "log": True},
        {"name": "task.span", "type": "uniform_int", "lower": 1, "upper": 64, "log": True},
        {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 4},
        {"name": "model.heads", "type": "ordinal", "sequence": [1, 2, 4, 8]},
        {"name": "optim.kind", "type": "categorical", "choices": ["adam", "sgd", "adamw"]},
        {"name": "optim.momentum", "type": "uniform_float", "lower": 0.0, "upper": 1.0},
        {"name": "seed", "type": "constant", "value": 3},
        {"name": "model.kind", "type": "categorical", "choices": ["transformer"]},
    ],
    "conditions": [{"type": "EQ", "child": "optim.momentum", "parent": "optim.kind", "value": "sgd"}],
    "forbiddens": [
        {
            "type": "AND",
            "clauses": [
                {"type": "EQUALS", "name": "model.layers", "value": 4},
                {"type": "EQUALS", "name": "model.heads", "value": 8},
            ],
        }
    ],
}


def mixed_space() -> ConfigurationSpace:
    return load_space(MIXED)


def loss_of(evaluation: Evaluation, *, failures: int = 0) -> float | None:
    """Return a loss that is a function of the values and the budget; one in ``failures`` fails."""
    mark = zlib.crc32(repr((sorted(evaluation.values.items()), evaluation.to_epoch)).encode())
    if failures and mark % failures == 0:
        return (None, float("nan"), float("inf"))[mark // failures % 3]
    numbers = [value for value in evaluation.values.values() if isinstance(value, float)]
    return sum((value - 0.02) ** 2 for value in numbers) + 1 / evaluation.to_epoch + mark % 97 / 1e4


def run_to_the_end(optimizer: Optimizer, *, loss: Callable[[Evaluation], float | None] = loss_of) -> None:
    """Ask and tell, the oldest running evaluation first, until nothing is left."""
    while not optimizer.finished:
        if optimizer.ask() is None:
            first = optimizer.running()[0]
            optimizer.tell(first.id, loss(first))


def table(optimizer: Optimizer) -> list[dict[str, Any]]:
    return optimizer.state()["evaluations"]


CHOICES = st.lists(st.one_of(st.integers(-9, 9), st.sampled_from("abcxyz")), min_size=1, max_size=4, unique=True)


@st.composite
def ranges(draw: st.DrawFn, name: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(["uniform_float", "uniform_int", "categorical", "ordinal", "constant", "normal_float"]))
    if kind in {"categorical", "ordinal"}:
        return {"name": name, "type": kind, {"ordinal": "sequence"}.get(kind, "choices"): draw(CHOICES)}
    if kind == "constant":
        return {"name": name, "type": kind, "value": draw(st.integers(-3, 3))}
    log = kind != "normal_float" and draw(st.booleans())
    lower = draw(st.integers(1, 50) if log else st.integers(-50, 50))
    upper = lower + draw(st.integers(1, 100))
    about = {"name": name, "type": kind, "lower": lower, "upper": upper, "log": log}
    return about | ({"mu": lower, "sigma": 1 + upper - lower} if kind == "normal_float" else {})


def levels(hyperparameter: dict[str, Any]) -> list[Value]:
    """Return values that a condition may ask of a hyperparameter."""
    for key in ("choices", "sequence"):
        if key in hyperparameter:
            return hyperparameter[key]
    if "value" in hyperparameter:
        return [hyperparameter["value"]]
    return [hyperparameter["lower"], hyperparameter["upper"]]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a space with all kinds of hyperparameters, conditions and perhaps a forbidden pair."""
    names = [f"h{number}" for number in range(draw(st.integers(2, 5)))]
    found = [draw(ranges(name)) for name in names]
    conditions = []
    for number in range(1, len(names)):
        if draw(st.integers(0, 2)) == 0:
            parent = found[draw(st.integers(0, number - 1))]
            value = draw(st.sampled_from(levels(parent)))
            conditions.append({"type": "EQ", "child": names[number], "parent": parent["name"], "value": value})
    document: dict[str, Any] = {"hyperparameters": found, "conditions": conditions}
    children = {condition["child"] for condition in conditions}
    pair = [each for each in found if each["name"] not in children][:2]
    if len(pair) == 2 and draw(st.booleans()):
        clauses = [{"type": "EQUALS", "name": e["name"], "value": draw(st.sampled_from(levels(e)))} for e in pair]
        document["forbiddens"] = [{"type": "AND", "clauses": clauses}]
    return document


def space_of(document: dict[str, Any]) -> ConfigurationSpace:
    """Build a drawn space; without its forbidden pair if that would forbid the default configuration."""
    try:
        return load_space(document)
    except SettingsError:
        return load_space({**document, "forbiddens": []})
