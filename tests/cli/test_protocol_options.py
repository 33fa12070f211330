"""Options of `crossval` and `finetune` for protocols: the number of folds, and what is trained."""

from pathlib import Path

import click
import pytest

from emotune.cli.crossval import FoldCount
from emotune.cli.options import adapt_settings
from emotune.documents import load_document, parse
from emotune.experiment import Experiment
from emotune.tasks import Classify

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(("given", "count"), [("2", 2), ("10", 10), ("all", "all")])
def test_folds_are_a_number_or_all(given: str, count: int | str) -> None:
    assert FoldCount().convert(given, None, None) == count


@pytest.mark.parametrize("given", ["1", "every", "2.5"])
def test_other_numbers_of_folds_are_refused(given: str) -> None:
    with pytest.raises(click.BadParameter):
        FoldCount().convert(given, None, None)


@pytest.mark.parametrize(
    ("adapt", "frozen", "hidden"),
    [(None, False, (1024, 512)), ("all", False, (1024, 512)), ("frozen", True, (1024, 512)), ("linear", True, ())],
)
def test_what_is_trained_is_a_setting_of_the_task(adapt: str | None, frozen: bool, hidden: tuple[int, ...]) -> None:
    assignments = [f"{name}={value}" for name, value in adapt_settings(adapt).items()]
    task = parse(load_document(EXAMPLES / "crossval_ecg.yaml").overridden(assignments), Experiment).task
    assert isinstance(task, Classify)
    assert (task.frozen, task.hidden) == (frozen, hidden)
