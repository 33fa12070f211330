"""Users' YAML files, read strictly: every mistake is reported with its line, and no value is guessed.

Plain scalars follow YAML 1.2: ``1e-4`` is a number, only ``true`` and ``false`` are booleans,
and ``no``, ``on`` and ``12:30:45`` are text.
Anchors, tags, duplicate keys and numbers with a leading zero are refused.
"""

import copy
import dataclasses
import json
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from emotune.errors import SettingsError

KeyPath = tuple[str | int, ...]
"""Keys and indices from the top of a document to a value."""

_LARGEST_FILE_BYTES = 1_000_000
_DEEPEST_LEVEL = 32
_CONSTANTS: dict[str, bool | None] = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclasses.dataclass(frozen=True)
class Document:
    """The content of a YAML file, with the position of each key."""

    name: str
    """The file as the user named it."""

    content: dict[str, Any]
    """Plain dicts, lists, text, numbers, booleans and None."""

    positions: Mapping[KeyPath, str]
    """``file:line:column`` of every key and item, by its path; or the option that gave it."""

    def where(self, path: Sequence[str | int]) -> str:
        """Return ``file:line:column`` of a path, or of the nearest parent that exists."""
        for length in range(len(path), -1, -1):
            if (position := self.positions.get(tuple(path[:length]))) is not None:
                return position
        return f"{self.name}:1:1"

    def overridden(self, assignments: Sequence[str]) -> "Document":
        """Return the document with ``key=value`` assignments applied (see `override`).

        Raises:
            SettingsError: An assignment is malformed.
        """
        content, positions = self.content, dict(self.positions)
        for assignment in assignments:
            content, path = _assign(content, assignment)
            positions[path] = _option(assignment)
        return dataclasses.replace(self, content=content, positions=positions)


class _Reader:
    """Builds the content of a text from the parser's events: depth is limited, and aliases are refused."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.lines = text.splitlines()
        self.positions: dict[KeyPath, str] = {}
        try:
            self.loader = yaml.SafeLoader(text)
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise SettingsError(
                f"{name}:{line}:1: the character {chr(int(error.character))!r} is not allowed"
            ) from None

    def read(self) -> Any:
        """Return the document of the text; None if the text is empty."""
        content = None
        for number in range(2):
            event = self._next()
            while not isinstance(event, (yaml.DocumentStartEvent, yaml.StreamEndEvent)):
                event = self._next()
            if isinstance(event, yaml.StreamEndEvent):
                break
            if number:
                raise self._refused(event, "a second YAML document begins here, expected one per file")
            content = self._node(self._next(), ())
        return content

    def _next(self) -> yaml.Event:
        try:
            event = self.loader.get_event()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or self.loader.get_mark()
            raise self._broken(mark, error.problem or "cannot be read") from None
        except (ValueError, OverflowError):  # PyYAML's own, for "\UFFFFFFFF" and "%YAML 1.1111..."
            raise self._broken(self.loader.get_mark(), "found an invalid number or character") from None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._refused(event, "anchors and aliases (& and *) are not allowed: write the value out")
        if getattr(event, "tag", None) is not None:
            raise self._refused(event, "tags (!) are not allowed: write the plain value")
        return event

    def _node(self, event: yaml.Event, path: KeyPath) -> Any:
        if len(path) > _DEEPEST_LEVEL:
            raise self._refused(event, f"more than {_DEEPEST_LEVEL} levels are nested")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent)
        if _HALF_CHARACTER.search(event.value):
            raise self._refused(event, "an incomplete character (a lone surrogate) is not allowed")
        return self._plain(event) if event.implicit[0] else event.value

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        content: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or not event.value:
                raise self._refused(event, "a key must be a plain text")
            key = event.value
            if key in content:
                before = self.positions[(*path, key)].rsplit(":", 2)[1]
                raise self._refused(event, f"{key!r} is given twice, first in line {before}")
            self.positions[(*path, key)] = self._at(event.start_mark)
            content[key] = self._node(self._next(), (*path, key))
        return content

    def _sequence(self, path: KeyPath) -> list[Any]:
        content: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            self.positions[(*path, len(content))] = self._at(event.start_mark)
            content.append(self._node(event, (*path, len(content))))
        return content

    def _plain(self, event: yaml.ScalarEvent) -> Any:
        text = event.value
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _LEADING_ZERO.fullmatch(text):
            raise self._refused(
                event, f"{shorten(text)} has a leading zero: remove the zero, or put the text in quotes"
            )
        if not _FLOAT.fullmatch(text):
            return text
        if len(text) > 400 or not math.isfinite(float(text)):
            raise self._refused(event, f"the number {shorten(text)} is too large")
        return int(text) if _INTEGER.fullmatch(text) else float(text)

    def _at(self, mark: yaml.Mark) -> str:
        return f"{self.name}:{mark.line + 1}:{mark.column + 1}"

    def _refused(self, event: yaml.Event, why: str) -> SettingsError:
        return SettingsError(f"{self._at(event.start_mark)}: {why}")

    def _broken(self, mark: yaml.Mark, problem: str) -> SettingsError:
        offending = self.lines[mark.line].strip() if mark.line < len(self.lines) else "the end of the file"
        return SettingsError(
            f"{self._at(mark)}: this is not valid YAML, {' '.join(problem.split())}: {shorten(offending)}"
        )


def shorten(value: Any) -> str:
    """Return a value for an error message, short and on one line."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = 60
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else shortener.repr(value)


def load_document(path: Path) -> Document:
    """Read a YAML file that holds a mapping.

    Raises:
        SettingsError: The file does not exist, is larger than 1 MB, not UTF-8 or not YAML, or uses what this module
            refuses. The message is one line with file, line and column.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > _LARGEST_FILE_BYTES:
        raise SettingsError(f"{path}: the file is larger than 1 MB, expected a file of settings")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}:{line}:1: the file is not UTF-8 text: save it as UTF-8") from None
    reader = _Reader(text, str(path))
    content = reader.read()
    if not isinstance(content, dict):
        given = "nothing" if content is None else shorten(content)
        raise SettingsError(f"{path}:1:1: {given} was found, expected lines such as 'key: value'")
    return Document(name=str(path), content=content, positions=reader.positions)


def override(content: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the content with assignments such as ``optim.lr=1e-3`` applied.

    Values are YAML (``[1, 2]`` is a list); ``partner=`` gives empty text. Keys may contain dots, as those of a search
    space do. Missing parents are made.

    Raises:
        SettingsError: An assignment has no ``=`` or no key, or leads through a number or text.
    """
    for assignment in assignments:
        content, _ = _assign(content, assignment)
    return content


def _option(assignment: str) -> str:
    return f"--set {' '.join(assignment.split())[:80]}"


def _assign(content: dict[str, Any], assignment: str) -> tuple[dict[str, Any], KeyPath]:
    name, equals, text = assignment.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise SettingsError(f"{_option(assignment)}: expected key=value, for example --set optim.lr=1e-3")
    value = _Reader(text, _option(assignment)).read() if text.strip() else ""
    changed = copy.deepcopy(content)
    path: KeyPath = ()
    node: Any = changed
    while parts:
        key, parts = _step(node, parts, assignment)
        path = (*path, key)
        if not parts:
            node[key] = value
        elif isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = node[key]
    return changed, path


def _step(node: Any, parts: list[str], assignment: str) -> tuple[str | int, list[str]]:
    """Return the next key of a dotted name, and the parts after it: the longest key that exists, or the first part."""
    if isinstance(node, dict):
        for length in range(len(parts), 1, -1):
            if (key := ".".join(parts[:length])) in node:
                return key, parts[length:]
        return parts[0], parts[1:]
    if isinstance(node, list) and parts[0].isascii() and parts[0].isdigit() and int(parts[0]) < len(node):
        return int(parts[0]), parts[1:]
    raise SettingsError(f"{_option(assignment)}: {shorten(node)} has no key {parts[0]!r}")


class _Dumper(yaml.SafeDumper):
    """Writes what `load_document` reads back unchanged: text that YAML 1.1 or 1.2 reads otherwise is quoted."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), [*"-+.0123456789"])


def encode_document(content: Mapping[str, Any], *, header: str) -> bytes:
    """Return settings as a YAML file, under a header of comment lines."""
    printable = ("".join(c if c.isprintable() else "?" for c in line) for line in header.splitlines())
    comment = "".join(f"# {line}".rstrip() + "\n" for line in printable)
    plain = json.dumps(dict(content), ensure_ascii=False)
    body = yaml.dump(
        json.loads(plain),  # objects that occur twice would become aliases
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=plain.isprintable(),  # without escapes PyYAML loses rare line breaks (U+0085)
        width=100,
    )
    return (comment + body).encode()
