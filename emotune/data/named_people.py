"""People that settings of folds name: by subject, by split or by corpus."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import field_validator, model_validator

from emotune.base import Settings
from emotune.errors import SettingsError, suggestion


class NamedPeople(Settings):
    """People of a store: by name, by the column ``split`` of the manifest, or all people of a corpus."""

    subjects: tuple[str, ...] = ()
    """Names of subjects, as ``SUBJECT`` or, where several corpora have a subject of that name, ``CORPUS/SUBJECT``."""

    split: str = ""
    """In the place of names: the people whose recordings have this text in the column ``split`` of the manifest."""

    corpora: tuple[str, ...] = ()
    """In the place of names: all people of these corpora, for example to train on one corpus and test on another."""

    @field_validator("subjects", mode="before")
    @classmethod
    def _refuse_numbers(cls, value: Any) -> Any:
        """Refuse numbers: YAML reads the name 01 as the number 1."""
        names = list(value) if isinstance(value, list | tuple) else [value]
        numbers = [name for name in names if isinstance(name, int | float)]
        if numbers:
            raise ValueError(
                f"{numbers[0]!r} is a number, expected the name of a subject; put it in quotes: '{numbers[0]}'"
            )
        return tuple(names)

    @model_validator(mode="after")
    def _check_given(self) -> "NamedPeople":
        if bool(self.subjects) + bool(self.split) + bool(self.corpora) != 1:
            corpora = f", corpora: {list(self.corpora)}" if self.corpora else ""
            raise ValueError(
                f"subjects: {list(self.subjects)} and split: {self.split!r}{corpora} were given, expected one of them"
            )
        return self


NAMES_SHOWN = 5
"""Names of people in a message."""


def list_names(names: Sequence[str]) -> str:
    """Return names of people for a message; after the first ones, the number of the others."""
    others = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {others} more" if others > 0 else "")


def resolve(named: NamedPeople, *, setting: str, index: pd.DataFrame, people: np.ndarray, used: np.ndarray) -> set[str]:
    """Return the people of a setting as ``CORPUS/SUBJECT``.

    Args:
        named: Their names, their split or their corpora.
        setting: Name of the setting, for messages.
        index: Index table of the store.
        people: The person of each row of the table, as ``CORPUS/SUBJECT``.
        used: The person of each row that can be used.

    Raises:
        SettingsError: A person, split or corpus does not exist, or a person has no row that can be used.
    """
    if named.corpora:
        resolved = _of_corpora(named.corpora, setting=f"{setting}.corpora", index=index, people=people)
    elif named.split:
        resolved = _of_split(named.split, setting=f"{setting}.split", index=index, people=people)
    else:
        everybody = [str(name) for name in np.unique(people)]
        resolved = {_person_named(name, setting=setting, everybody=everybody) for name in named.subjects}
    without = sorted(resolved - set(used.tolist()))
    if len(without) == len(resolved) or (without and named.subjects):
        raise SettingsError(
            f"{setting}: no segment of {list_names(without)} can be used: none has a label, a chosen channel and, "
            "with a partner, the same moment in it; name other people"
        )
    return resolved


def _person_named(name: str, *, setting: str, everybody: Sequence[str]) -> str:
    matches = [person for person in everybody if name in (person, person.partition("/")[2])]
    if not matches:
        plain = [person.partition("/")[2] for person in everybody]
        hint = suggestion(name, among=[*plain, *everybody]) or f"; they have {list_names(everybody)}"
        raise SettingsError(f"{setting}: the data have no subject {name!r}{hint}")
    if len(matches) > 1:
        raise SettingsError(
            f"{setting}: {name!r} was given, but several people have that name; type one of {', '.join(matches)}"
        )
    return matches[0]


def _of_corpora(corpora: Sequence[str], *, setting: str, index: pd.DataFrame, people: np.ndarray) -> set[str]:
    """Return the people of corpora."""
    corpus_of = index["corpus"].astype(str).to_numpy()
    names = sorted({str(name) for name in corpus_of})
    for corpus in corpora:
        if corpus not in names:
            hint = suggestion(corpus, among=names) or f"; they have {', '.join(names)}"
            raise SettingsError(f"{setting}: the data have no corpus {corpus!r}{hint}")
    return set(people[np.isin(corpus_of, corpora)].tolist())


def _of_split(split: str, *, setting: str, index: pd.DataFrame, people: np.ndarray) -> set[str]:
    """Return the people all of whose recordings are in a split."""
    if "split" not in index:
        raise SettingsError(
            f"{setting}: {split!r} was given, but the data have no splits; add a column split to manifest.csv and "
            "prepare the store again, or give subjects"
        )
    splits = index["split"].fillna("").astype(str).to_numpy(dtype=str)
    inside = set(people[splits == split].tolist())
    if not inside:
        names = sorted({str(name) for name in splits} - {""})
        hint = suggestion(split, among=names) or f"; they have {', '.join(names)}"
        raise SettingsError(f"{setting}: the data have no split {split!r}{hint}")
    both = sorted(inside & set(people[splits != split].tolist()))
    if both:
        raise SettingsError(
            f"{setting}: recordings of {list_names(both)} are in split {split!r} and outside of it; a person can be "
            "on one side only: give all recordings of a person the same split in manifest.csv"
        )
    return inside
