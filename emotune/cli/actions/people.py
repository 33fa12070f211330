"""The part of ``emotune compare`` about people: paired tests over the people of several cross-validations."""

from collections.abc import Sequence
from dataclasses import dataclass

from emotune.cli.actions.consoles import console
from emotune.cli.actions.tables import plain_table
from emotune.cli.output import print_line, print_message
from emotune.evaluation.class_scores import ClassLevelScores, class_level_scores, is_of_classes
from emotune.evaluation.crossval import significance
from emotune.evaluation.held_out import PREDICTIONS_FILE, kept_predictions
from emotune.evaluation.held_out_scores import (
    SCORES,
    Level,
    LevelScores,
    PeopleComparison,
    compare_people,
    level_scores,
)
from emotune.evaluation.statistics import Comparison
from emotune.study.folder import SearchFolder

COMPARED: dict[Level, str] = {"segments": "segments", "mean": "trials"}
"""Levels that are compared, with their names; a trial is classified by its mean probability."""


def describe_test(test: Comparison) -> str:
    """Return difference, p and whether the difference is within noise."""
    p = "" if test.p is None else f", p = {test.p:.2g}"
    return f"{test.difference.text}{p}, {significance(test.difference)}"


@dataclass(frozen=True, eq=False)
class PeopleOfRuns:
    """Scores by person of the cross-validations that keep their predictions."""

    scores: dict[str, dict[Level, LevelScores | ClassLevelScores]]
    """By the name of the run."""
    without: tuple[str, ...]
    """Runs of older versions, which keep no predictions."""

    @classmethod
    def read(cls, folders: Sequence[SearchFolder]) -> "PeopleOfRuns":
        """Read the predictions of several runs."""
        tables = {folder.name: kept_predictions(folder) for folder in folders}
        scores: dict[str, dict[Level, LevelScores | ClassLevelScores]] = {
            name: {
                level: (class_level_scores if is_of_classes(table) else level_scores)(table, level=level)
                for level in COMPARED
            }
            for name, table in tables.items()
            if table is not None
        }
        return cls(scores, without=tuple(name for name in tables if name not in scores))

    def compare(self, name: str, *, level: Level) -> dict[str, PeopleComparison | None]:
        """Return the paired tests of a run minus the first one, by score."""
        first = next(iter(self.scores.values()))[level]
        return {score: compare_people(first, self.scores[name][level], score=score) for score in SCORES}

    def document(self) -> dict[str, object]:
        """Return tests and means over people as plain JSON: ``people_tests`` and ``people``."""
        tests = {
            name: {
                level: {score: part and part.model_dump() for score, part in self.compare(name, level=level).items()}
                for level in COMPARED
            }
            for name in list(self.scores)[1:]
        }
        means = {
            name: {level: part.model_dump(mode="json", include={"over_people"}) for level, part in levels.items()}
            for name, levels in self.scores.items()
        }
        return {"people": means, "people_tests": tests}

    def print(self) -> None:
        """Print the means over people and the tests, and which runs keep no predictions."""
        if self.scores:
            self._print_table()
        for name in self.without:
            print_message(f"{name} keeps no {PREDICTIONS_FILE}; `emotune scores {name}` computes it")

    def _print_table(self) -> None:
        names = list(self.scores)
        table = plain_table("", *SCORES)
        for level, title in COMPARED.items():
            for name in names:
                means = self.scores[name][level].over_people
                table.add_row(f"{name}, {title}", *(means[score].text if score in means else "-" for score in SCORES))
                if name != names[0]:
                    tests = self.compare(name, level=level)
                    table.add_row(f"  minus {names[0]}", *map(_cell, tests.values()))
        print_line("\nmean over people, with 95 % interval, and paired t-tests over people")
        console().print(table)
        if len(names) > 1 and (different := self._different()):
            print_message(f"{different} people are in one of two results only, and are not compared")

    def _different(self) -> int:
        """Return the largest number of people that are not compared, whatever the score."""
        parts = [self.compare(name, level="segments")["accuracy"] for name in list(self.scores)[1:]]
        return max(0 if part is None else part.only_one for part in parts)


def _cell(comparison: PeopleComparison | None) -> str:
    if comparison is None:
        return "-"
    p = "" if comparison.test.p is None else f", p = {comparison.test.p:.2g}"
    return f"{comparison.test.difference.text}{p}"
