"""What the values of MAT files of every version become."""

from typing import Any

LARGEST_CONTENT = 8 * 2**30
"""Bytes that are read from a file at once; DREAMER, all subjects in one file, has a quarter of that."""

LARGEST_EXPANSION = 1100
"""How many times its length a file may unpack to; deflate cannot shrink anything by more than 1032."""

DEEPEST = 20
"""Cells and structs within each other."""

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
"""MATLAB's classes and NumPy's types."""


def name_of(text: str) -> str:
    """Return the name of a variable or field; damaged ones would break a message into lines."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def text_of(rows: list[str]) -> str | list[str]:
    """Return one row as it is, several without the blanks that make them equally long."""
    if len(rows) <= 1:
        return "".join(rows)
    return [row.rstrip() for row in rows]


def structs_of(structs: list[dict[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
    """Return one struct as it is, and several or none as a list."""
    return structs[0] if len(structs) == 1 else structs
