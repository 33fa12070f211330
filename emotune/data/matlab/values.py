"""Limits and conversions that the readers of all versions of MAT files share."""

from typing import Any

LARGEST_CONTENT_BYTES = 8 * 2**30
"""Largest number of bytes read from a file; DREAMER, all subjects in one file, has a quarter of it."""

LARGEST_EXPANSION = 1100
"""Largest ratio of decompressed to stored bytes; deflate reaches 1032 at most."""

DEEPEST_NESTING = 20
"""Largest depth of cells and structs within each other."""

NUMBERS = {
    "double": "float64",
    "single": "float32",
    "logical": "bool",
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
}
"""NumPy's type of each numeric class of MATLAB."""


def name_of(text: str) -> str:
    """Return the name of a variable or field with ``?`` for control characters, which would break a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def text_of(rows: list[str]) -> str | list[str]:
    """Return one row as it is, several rows without the blanks that pad them to one length."""
    if len(rows) <= 1:
        return "".join(rows)
    return [row.rstrip() for row in rows]


def structs_of(structs: list[dict[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
    """Return one struct as it is, several or no structs as a list."""
    return structs[0] if len(structs) == 1 else structs
