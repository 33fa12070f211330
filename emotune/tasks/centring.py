"""Centring: the mean vector of a person is subtracted from the vectors of all segments of the person.

    centred v_i = v_i - (1 / |S(i)|) sum of v_j over j in S(i)

S(i) are all segments of the same person and the same ECG lead in a store or in a recording, with or without a label.
The mean needs no label. It needs several segments of a person, and depends on the share of each class among them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from emotune.data.folds import unit_keys

MIN_SEGMENTS = 2
"""Fewest segments of a person that have a mean: a single segment minus the mean is zero, whatever the signal."""

FEW_SEGMENTS = 10
"""Segments of a person below which a command warns: the mean is then uncertain."""


def person_numbers(index: pd.DataFrame) -> Int64[np.ndarray, " segment"]:
    """Return the number of each segment's person and lead, from 0.

    Args:
        index: The store's index, a row per segment.
    """
    keys = np.char.add(np.char.add(unit_keys(index, by="subject"), "/"), index["channel"].to_numpy(dtype=str))
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def segments_of_people(
    number: Int64[np.ndarray, " segment"], *, rows: Int64[np.ndarray, " row"]
) -> Int64[np.ndarray, " own"]:
    """Return all segments, with and without a label, of the people and leads of some segments.

    Args:
        number: Number of each segment's person and lead, from `person_numbers`.
        rows: These segments.
    """
    return np.flatnonzero(np.isin(number, number[rows]))


def mean_by_person(
    vectors: Float[np.ndarray, "row width"], *, people: Int64[np.ndarray, " row"]
) -> Float[np.ndarray, "person width"]:
    """Return the mean vector of each person, in float64.

    Args:
        vectors: Vectors of segments.
        people: Number of each segment's person, from 0; each number occurs.
    """
    sums = np.zeros((int(people.max()) + 1, vectors.shape[1]))
    np.add.at(sums, people, vectors)
    return sums / np.bincount(people)[:, None]


def centre_by_person(
    vectors: Float[np.ndarray, "row width"], *, people: Int64[np.ndarray, " row"]
) -> Float[np.ndarray, "row width"]:
    """Return vectors minus the mean vector of each segment's person.

    Args:
        vectors: Vectors of segments.
        people: Number of each segment's person, from 0; each number occurs.
    """
    return vectors - mean_by_person(vectors, people=people)[people]


@dataclass(frozen=True, eq=False)
class PersonMeans:
    """Mean vectors of the people of a store.

    Attributes:
        number: Number of the person and lead of each segment of the store, from `person_numbers`.
        means: Mean vector of each of them; NaN where it was not computed.
    """

    number: Int64[np.ndarray, " segment"]
    means: Float[Tensor, "person width"]

    def of(self, rows: Int64[Tensor, " batch"]) -> Float[Tensor, "batch width"]:
        """Return the mean vector of the person of each of the rows."""
        return self.means[torch.from_numpy(self.number)[rows]]


def describe_counts(counts: Int64[np.ndarray, " person"]) -> str:
    """Return the smallest and the largest number of segments of a person, for example ``12 to 48 segments``."""
    low, high = int(counts.min()), int(counts.max())
    numbers = f"{low}" if low == high else f"{low} to {high}"
    return f"{numbers} segment{'' if high == 1 else 's'}"


def describe_means(index: pd.DataFrame, *, rows: Int64[np.ndarray, " row"]) -> list[str]:
    """Return a line about the segments of the means that are subtracted, and a warning if some have few.

    Args:
        index: The store's index, a row per segment.
        rows: Segments from which the mean of their person is subtracted.
    """
    number = person_numbers(index)
    counts = np.bincount(number)[np.unique(number[rows])]
    people = len(np.unique(unit_keys(index.iloc[rows], by="subject")))
    unit = "person" if people == len(counts) else "person and lead"
    lines = [
        f"task.centre: person: the mean of each {unit} is over {describe_counts(counts)}, with and without a label"
    ]
    few = int((counts < FEW_SEGMENTS).sum())
    if few:
        lines.append(
            f"warning: {few} of {len(counts)} means are over fewer than {FEW_SEGMENTS} segments, and uncertain; a "
            "single segment minus its mean is zero, whatever the signal. Give more segments of each person, or leave "
            "these people out"
        )
    return lines
