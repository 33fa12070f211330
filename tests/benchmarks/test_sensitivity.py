"""Every choice changes one existing setting, and the table has paired differences from the recommended settings."""

from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.sensitivity import (
    CHOICES,
    Choice,
    Part,
    Plan,
    Scores,
    arrays_file,
    classifier_of,
    encoder_of,
    finished_seeds,
    prepared,
    table_rows,
)
from emotune.data.store import SegmentStore
from emotune.experiment import setting_names

PLAN = Plan(out=Path(), seeds=1, epochs=8, network_seeds=1, network_epochs=12, folds=3)


def settings_of(choice: Choice | None, store: SegmentStore) -> dict[str, dict[str, Any]]:
    """Return all settings of a reading by its part and their dotted names."""
    every = {
        "preparation": prepared(choice),
        "pre-training": encoder_of(choice, store, seed=0, epochs=PLAN.epochs),
        "classifier": classifier_of(choice, store, seed=0, plan=PLAN),
    }
    return {
        part: {name: attrgetter(name)(settings) for name in setting_names(settings)} for part, settings in every.items()
    }


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
def test_every_choice_changes_exactly_one_setting_that_exists(choice: Choice, small_store: Path) -> None:
    store = SegmentStore.open(small_store)
    recommended, changed = settings_of(None, store), settings_of(choice, store)
    assert choice.setting in recommended[choice.part]
    assert {
        (part, name): value
        for part, settings in changed.items()
        for name, value in settings.items()
        if value != recommended[part].get(name)
    } == {(choice.part, choice.setting): choice.value}
    assert all(settings.keys() == recommended[part].keys() for part, settings in changed.items())


def test_every_reading_and_seed_has_its_own_file() -> None:
    readings = [(None, "pre-training"), (None, "classifier"), *((choice, choice.part) for choice in CHOICES)]
    files = [arrays_file(PLAN, choice, part, seed=seed) for choice, part in readings for seed in range(3)]
    assert len(set(files)) == len(files)


def test_seeds_are_finished_up_to_the_first_without_results(tmp_path: Path) -> None:
    plan = replace(PLAN, out=tmp_path, seeds=4)
    assert finished_seeds(plan, None, "pre-training") == []
    for seed in (0, 1, 3):
        file = arrays_file(plan, None, "pre-training", seed=seed)
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert finished_seeds(plan, None, "pre-training") == [0, 1]
    assert finished_seeds(plan, None, "classifier") == []


SEEDS, PEOPLE = 3, 20
BY_PART = {choice.part: choice for choice in CHOICES}


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.replace("[", "").replace("]", "").replace(",", "").split()[:3]]


def test_differences_are_paired_by_seed_and_person() -> None:
    random = np.random.default_rng(0)
    loss, macro_f1 = 10 * random.normal(size=(2, SEEDS, PEOPLE))
    before = Scores(loss, macro_f1, runs=SEEDS)
    choice = BY_PART["pre-training"]
    *_, row = table_rows(
        {"pre-training": before, "classifier": before}, {choice: Scores(loss - 0.25, macro_f1 + 0.125, runs=SEEDS)}
    )
    assert row == [
        choice.reading,
        f"`{choice.setting}: {choice.value}`",
        "-0.250 [-0.250, -0.250]",
        "+0.125 [+0.125, +0.125]",
        "3",
    ]


def test_a_reading_with_fewer_seeds_is_compared_with_the_same_seeds() -> None:
    by_seed = np.arange(SEEDS)[:, None] * np.ones((SEEDS, PEOPLE))
    choice = BY_PART["pre-training"]
    own = Scores(by_seed[:2] + 0.5, by_seed[:2] - 0.5, runs=2)
    recommended, row = table_rows({"pre-training": Scores(by_seed, by_seed, runs=SEEDS)}, {choice: own})
    assert recommended[0] == "recommended, frozen encoder"
    assert row[2:] == ["+0.500 [+0.500, +0.500]", "-0.500 [-0.500, -0.500]", "2"]


def test_an_interval_covers_the_differences_of_people_and_of_seeds() -> None:
    random = np.random.default_rng(1)
    zeros = np.zeros((SEEDS, PEOPLE))
    before = Scores(zeros, zeros, runs=SEEDS)
    people, seeds = random.normal(size=(1, PEOPLE)) + zeros, random.normal(size=(SEEDS, 1)) + zeros
    choice = BY_PART["pre-training"]
    *_, row = table_rows({"pre-training": before, "classifier": before}, {choice: Scores(people, seeds, runs=SEEDS)})
    for text, differences in zip(row[2:4], (people, seeds), strict=True):
        mean, low, high = numbers(text)
        assert mean == pytest.approx(differences.mean(), abs=1e-3)
        assert low < mean < high
        assert low >= differences.min() - 1e-3
        assert high <= differences.max() + 1e-3


def test_a_loss_of_another_signal_is_marked_and_a_classifier_has_none() -> None:
    own = Scores(np.ones((SEEDS, PEOPLE)), np.ones((SEEDS, PEOPLE)), runs=SEEDS)
    tuned = Scores(None, np.ones((SEEDS, PEOPLE)), runs=9)
    scores = {choice: tuned if part == "classifier" else own for part, choice in BY_PART.items()}
    recommended: dict[Part, Scores] = {"preparation": own, "pre-training": own, "classifier": tuned}
    rows = {row[0]: row for row in table_rows(recommended, scores)}
    assert rows["recommended, frozen encoder"][2:] == ["1.000 [1.000, 1.000]", "1.000 [1.000, 1.000]", "3"]
    assert rows["recommended, fine-tuned"][2:] == ["", "1.000 [1.000, 1.000]", "9"]
    marked = {part: rows[choice.reading][2].endswith("†") for part, choice in BY_PART.items()}
    assert marked == {"preparation": True, "pre-training": False, "classifier": False}
    assert rows[BY_PART["classifier"].reading][2] == ""
