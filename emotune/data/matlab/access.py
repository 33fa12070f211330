"""Access to values in MATLAB structs, as `read_mat` returns them, with messages that name the field."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from emotune.data.modality import channel_positions
from emotune.errors import DataError


def value_at(content: Any, field: str) -> Any:
    """Return the value of a field such as ``hs.eeg.sig``.

    Raises:
        DataError: There is no such field; the message lists the fields that exist.
    """
    value, parent = content, ""
    for name in field.split("."):
        if not isinstance(value, dict):
            raise DataError(f"{parent} is {describe_value(value)}, where a struct with {name} was expected")
        if name not in value:
            fields = ", ".join(map(str, value)) or "none"
            raise DataError(f"there is no {name}{f' in {parent}' if parent else ''}; there is {fields}")
        value, parent = value[name], f"{parent}.{name}".lstrip(".")
    return value


def number_at(content: Any, field: str) -> float:
    """Return a single number of any numeric class.

    Raises:
        DataError: The field is missing, or holds no single finite number.
    """
    value = value_at(content, field)
    if not (isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "fiub"):
        raise DataError(f"{field} is {describe_value(value)}, where a number was expected")
    number = float(value.item())
    if not math.isfinite(number):
        raise DataError(f"{field} is {number}, where a finite number was expected")
    return number


def rate_at(content: Any, field: str) -> float:
    """Return a sampling rate in Hz.

    Raises:
        DataError: The field is missing, or holds no single number above 0.
    """
    rate = number_at(content, field)
    if rate <= 0:
        raise DataError(f"{field} is {rate:g}, where a sampling rate above 0 Hz was expected")
    return rate


def text_at(content: Any, field: str) -> str:
    """Return characters as a text of one row.

    Raises:
        DataError: The field is missing, or holds something else.
    """
    value = value_at(content, field)
    if isinstance(value, np.ndarray) and value.size == 0:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{field} is {describe_value(value)}, where characters were expected")
    return value


def texts_at(content: Any, field: str) -> list[str]:
    """Return a cell array of characters as a list.

    Raises:
        DataError: The field is missing, or holds something else.
    """
    value = value_at(content, field)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{field} is {describe_value(value)}, where a cell array of names was expected")
    return value


def matrix_at(content: Any, field: str) -> Float[np.ndarray, "row column"]:
    """Return a matrix of real numbers as floats. It is copied only if its class is no float.

    Raises:
        DataError: The field is missing, or holds something else.
    """
    value = value_at(content, field)
    if not (isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind in "fiub"):
        raise DataError(f"{field} is {describe_value(value)}, where a matrix of numbers was expected")
    return value if value.dtype.kind == "f" else value.astype(np.float64)


def ten_channels_at(content: Any, field: str, *, names: str) -> Float[np.ndarray, "10 time"]:
    """Return the ten EEG channels (`TEN_CHANNELS`) of a matrix of shape (sample, channel).

    Args:
        content: Result of `read_mat`.
        field: Field of the matrix.
        names: Field of the names of its columns.

    Raises:
        DataError: There are more or fewer names than columns, or a channel is missing.
    """
    samples, known = matrix_at(content, field), texts_at(content, names)
    if samples.shape[1] != len(known):
        raise DataError(
            f"{field} has shape {samples.shape[0]} x {samples.shape[1]}, where {len(known)} columns were expected, "
            f"as many as there are {names}"
        )
    return samples.T[channel_positions(known)]


def describe_value(value: Any) -> str:
    """Return a short description of a value for a message."""
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
