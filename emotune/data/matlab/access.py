"""Taking values out of MATLAB structs, as `read_mat` returns them, with messages that name the field."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from emotune.data.modality import channel_positions
from emotune.errors import DataError


def value_at(content: Any, place: str) -> Any:
    """Return what is at a place such as ``hs.eeg.sig``.

    Raises:
        DataError: There is no such field; the message names those that there are.
    """
    value, way = content, ""
    for name in place.split("."):
        if not isinstance(value, dict):
            raise DataError(f"{way} is {describe_value(value)}, where a struct with {name} was expected")
        if name not in value:
            fields = ", ".join(map(str, value)) or "none"
            raise DataError(f"there is no {name}{f' in {way}' if way else ''}; there is {fields}")
        value, way = value[name], f"{way}.{name}".lstrip(".")
    return value


def number_at(content: Any, place: str) -> float:
    """Return a single number, of whatever type it is stored.

    Raises:
        DataError: There is something else, or no finite number.
    """
    value = value_at(content, place)
    if not (isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "fiub"):
        raise DataError(f"{place} is {describe_value(value)}, where a number was expected")
    number = float(value.item())
    if not math.isfinite(number):
        raise DataError(f"{place} is {number}, where a finite number was expected")
    return number


def rate_at(content: Any, place: str) -> float:
    """Return a sampling rate in Hz.

    Raises:
        DataError: There is something else.
    """
    rate = number_at(content, place)
    if rate <= 0:
        raise DataError(f"{place} is {rate:g}, where a sampling rate above 0 Hz was expected")
    return rate


def text_at(content: Any, place: str) -> str:
    """Return characters.

    Raises:
        DataError: There is something else.
    """
    value = value_at(content, place)
    if isinstance(value, np.ndarray) and value.size == 0:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{place} is {describe_value(value)}, where characters were expected")
    return value


def texts_at(content: Any, place: str) -> list[str]:
    """Return a cell array of characters.

    Raises:
        DataError: There is something else.
    """
    value = value_at(content, place)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise DataError(f"{place} is {describe_value(value)}, where a cell array of names was expected")
    return value


def matrix_at(content: Any, place: str) -> Float[np.ndarray, "row column"]:
    """Return a matrix of real numbers as floats; it is copied only if it holds something else.

    Raises:
        DataError: There is something else.
    """
    value = value_at(content, place)
    if not (isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "fiub"):
        raise DataError(f"{place} is {describe_value(value)}, where a matrix of numbers was expected")
    return value if value.dtype.kind == "f" else value.astype(np.float64)


def ten_channels_at(content: Any, place: str, *, names: str) -> Float[np.ndarray, "10 time"]:
    """Return the ten EEG channels out of a matrix (sample, channel), chosen by their names.

    Args:
        content: What `read_mat` returned.
        place: Where the matrix is.
        names: Where the names of its columns are.

    Raises:
        DataError: Names and columns do not go together, or a channel is missing.
    """
    samples, known = matrix_at(content, place), texts_at(content, names)
    if samples.shape[1] != len(known):
        raise DataError(
            f"{place} has shape {samples.shape[0]} x {samples.shape[1]}, where {len(known)} columns were expected, "
            f"as many as there are {names}"
        )
    return samples.T[channel_positions(known)]


def describe_value(value: Any) -> str:
    """Say for a message what a value is."""
    match value:
        case dict():
            return "a struct"
        case list():
            return f"a cell array of {len(value)}"
        case str():
            return f"the text {value[:40]!r}"
        case np.ndarray():
            return f"a {' x '.join(map(str, value.shape))} array of {value.dtype}"
        case _:
            return f"a {type(value).__name__}"
