"""How commands print: answers on stdout, messages on stderr."""

import contextlib
import json
import logging
import os
import sys
from typing import Any

import click


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def printable(text: str) -> str:
    """Replace control characters, which a terminal would obey: names come from other people's files.

    New lines and tabs stay.
    """
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def print_line(text: str = "") -> None:
    """Print a line of an answer on stdout, unwrapped, with control characters replaced."""
    click.echo(printable(text))


def print_message(message: str) -> None:
    """Print a message on stderr, unwrapped, so that commands and paths in it can be copied.

    A terminal or a pipe that is gone and a full disk are no errors: a message decides nothing.
    """
    with contextlib.suppress(OSError):
        click.echo(printable(message), err=True)


def discard_answers() -> None:
    """Replace stdout by the null device, after it could not be written: Python writes the rest of it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


class SafeFormatter(logging.Formatter):
    """Formatter of log lines that replaces control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return printable(super().format(record))


def print_error(message: str) -> None:
    """Print an error on stderr."""
    print_message(f"emotune: {message}")


def size(count: int) -> str:
    """Return a number of bytes as text, such as ``12 MB``."""
    power = 0 if count < 1000 else 1 if count < 1e6 else 2 if count < 1e9 else 3
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB')[power]}"
