"""``emotune scores``: the scores of held-out predictions as tables, JSON or CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.table import Table

from emotune.cli.actions.consoles import console
from emotune.cli.actions.folders import existing_records
from emotune.cli.actions.prepare import progress_bar
from emotune.cli.actions.tables import plain_table
from emotune.cli.output import print_json, print_line, print_message
from emotune.data.modality import Modality
from emotune.evaluation.baselines import baseline_tables, titles_of
from emotune.evaluation.class_scores import ClassLevelScores, class_document, class_level_scores, is_of_classes
from emotune.evaluation.fused_moment import find_moment
from emotune.evaluation.held_out import PREDICTIONS_FILE, predictions_of
from emotune.evaluation.held_out_scores import (
    LEVELS,
    SCORES,
    Level,
    LevelScores,
    PersonScores,
    compare_people,
    document_of,
    level_scores,
)
from emotune.evaluation.moment_plot import check_figure, write_moment
from emotune.evaluation.statistics import Interval
from emotune.files import check_output, write_output

TITLES: dict[Level, str] = {
    "segments": "segments",
    "vote": "trials, vote",
    "mean": "trials, mean",
}
"""Name of each level in a table."""


@dataclass(frozen=True)
class FigureRequest:
    """The options ``--figure`` and ``--wrong``."""

    file: Path
    wrong: Modality


def print_scores(name: str, *, csv: Path | None, figure: FigureRequest | None, storage: str, as_json: bool) -> None:
    """Carry out ``emotune scores``."""
    if csv is not None:
        check_output(csv, option="--csv")
    if figure is not None:
        check_figure(figure.file, option="--figure")
        check_output(figure.file, option="--figure")
    folder, _ = existing_records(name, storage=storage)
    with progress_bar("predictions") as progress:
        table = predictions_of(folder, progress=progress)
        moment = None if figure is None else find_moment(folder, wrong=figure.wrong, progress=progress)
    if csv is not None:
        write_output(csv, table.to_csv(index=False).encode(), option="--csv")
    if figure is not None and moment is not None:
        write_moment(moment, file=figure.file, option="--figure")
    if as_json:
        content = {"name": name, "predictions": str(folder.storage / PREDICTIONS_FILE), **scores_document(table)}
        print_json(content if moment is None else content | {"moment": moment.document()})
        return
    print_table(table)
    print_message(f"predictions: {folder.storage / PREDICTIONS_FILE}")
    if moment is not None:
        print_line(f"\n{moment.text}")


def scores_document(table: pd.DataFrame) -> dict[str, object]:
    """Return the scores of a table of predictions as plain JSON."""
    document = class_document if is_of_classes(table) else document_of
    tables = baseline_tables(table)
    baselines = {"baselines": {name: document(part)["levels"] for name, part in tables.items()}} if tables else {}
    return {**document(table), **baselines}


def print_table(table: pd.DataFrame) -> None:
    """Print the scores of a table of predictions: over people, of all people together, confusion, and by person."""
    if is_of_classes(table):
        _print_classes(table)
        return
    levels = [level_scores(table, level=level) for level in LEVELS]
    out = console()
    _print_over_people(levels, table=table)
    print_line("\nall people together")
    out.print(_pooled_table(levels))
    print_line("\nby person, segments")
    out.print(_people_table(levels[0].people))
    print_message("ECE: expected calibration error of the probability")
    _print_without_auc(levels[0])


def _print_over_people(levels: Sequence[LevelScores] | Sequence[ClassLevelScores], *, table: pd.DataFrame) -> None:
    """Print the means of the network over people, then those of the baselines."""
    count = len(levels[0].people)
    print_line(f"mean over {count} {'person' if count == 1 else 'people'}, with 95 % interval")
    console().print(over_people_table(levels))
    _print_baselines(table, own=levels[0])


def _print_baselines(table: pd.DataFrame, *, own: LevelScores | ClassLevelScores) -> None:
    """Print the means of the baselines over people, and the network minus each, if the table has baselines.

    Args:
        table: The predictions.
        own: Scores of the network on segments.
    """
    tables, titles = baseline_tables(table), titles_of()
    if not tables:
        return
    score = class_level_scores if is_of_classes(table) else level_scores
    compared = ("accuracy", "macro_f1")
    columns = [f"network minus it, {name}" for name in compared]
    printed = plain_table("baseline, segments", *SCORES, *columns)
    for name, part in tables.items():
        other = score(part, level="segments")
        tests = [compare_people(other, own, score=measure) for measure in compared]
        means = [_text(other.over_people.get(measure)) for measure in SCORES]
        differences = ["-" if test is None else test.test.difference.text for test in tests]
        printed.add_row(titles.get(name, name), *means, *differences)
    print_line("\nbaselines in the same folds, mean over people")
    console().print(printed)


def _print_without_auc(level: LevelScores | ClassLevelScores) -> None:
    count, defined = len(level.people), len(level.values("auc"))
    if defined < count:
        print_message(f"{count - defined} of {count} people have segments of one label only, and no AUC")


def _print_classes(table: pd.DataFrame) -> None:
    """Print the scores of several classes, and their confusion matrix."""
    levels = [class_level_scores(table, level=level) for level in LEVELS]
    out, segments = console(), levels[0]
    _print_over_people(levels, table=table)
    print_line("\nall people together")
    pooled = plain_table("", *SCORES, "ECE", numbers=(*SCORES, "ECE"))
    for level in levels:
        pooled.add_row(TITLES[level.level], *(_number(level.pooled.get(score)) for score in SCORES), _number(level.ece))
    out.print(pooled)
    print_line("\nsegments by label (row) and predicted class (column), and scores by class")
    out.print(_confusion_table(segments))
    print_line("\nby person, segments")
    out.print(_people_of_classes(segments))
    print_message("AUC: mean over the classes, each against the others; ECE: of the probability of the likeliest class")
    _print_without_auc(segments)


def _confusion_table(level: ClassLevelScores) -> Table:
    names, scores = [*level.confusion], ("precision", "recall", "f1", "auc")
    table = plain_table("", *names, *scores, numbers=(*names, *scores))
    for name, row in level.confusion.items():
        cells = [_number(level.by_class[name].get(score)) for score in scores]
        table.add_row(name, *map(str, row.values()), *cells)
    return table


def _people_of_classes(level: ClassLevelScores) -> Table:
    names = [*level.confusion]
    table = plain_table("person", "segments", *names, *SCORES, numbers=("segments", *names, *SCORES))
    for part in level.people:
        shares = [f"{part.shares[name]:.0%}" for name in names]
        table.add_row(part.person, str(part.count), *shares, *(_number(part.scores.get(score)) for score in SCORES))
    return table


def over_people_table(levels: Sequence[LevelScores | ClassLevelScores]) -> Table:
    """Return a table with the mean of each score over people."""
    table = plain_table("", "count", *SCORES, numbers=("count",))
    for level in levels:
        cells = [_text(level.over_people.get(score)) for score in SCORES]
        table.add_row(TITLES[level.level], str(level.count), *cells)
    return table


def _text(interval: Interval | None) -> str:
    return "-" if interval is None else interval.text


def _pooled_table(levels: Sequence[LevelScores]) -> Table:
    counts = ("true high", "false high", "true low", "false low")
    table = plain_table("", *SCORES, "ECE", *counts, numbers=(*SCORES, "ECE", *counts))
    for level in levels:
        cells = [_number(level.pooled.get(score)) for score in SCORES]
        numbers = [str(level.confusion[name.replace(" ", "_")]) for name in counts]
        table.add_row(TITLES[level.level], *cells, _number(level.ece), *numbers)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _people_table(people: Sequence[PersonScores]) -> Table:
    table = plain_table("person", "segments", "high", *SCORES, numbers=("segments", "high", *SCORES))
    for part in people:
        cells = [_number(part.scores.get(score)) for score in SCORES]
        table.add_row(part.person, str(part.count), f"{part.high_share:.0%}", *cells)
    return table
