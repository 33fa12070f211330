"""Validation of documents, with a line per mistake in path of pydantic's errors."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from emotune.documents.text import Document, KeyPath, shorten
from emotune.errors import SettingsError

Schema = dict[str, Any]
M = TypeVar("M")

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
    "greater_than_equal": "a number of at least {ge:g}",
    "greater_than": "a number above {gt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "less_than": "a number below {lt:g}",
    "multiple_of": "a multiple of {multiple_of:g}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
}


@dataclasses.dataclass(frozen=True)
class _Problem:
    """An error of pydantic's, with its path in the document."""

    path: KeyPath
    parent: Schema
    """Schema of the mapping that holds the key."""
    schema: Schema
    details: ErrorDetails

    @property
    def name(self) -> str:
        return ".".join(str(part) for part in self.path)


def parse(document: Document, model: type[M] | TypeAdapter, *, at: Sequence[str | int] = ()) -> M:
    """Validate a document, or the part of it at a path, and return its settings.

    Validation is strict: text is not a number, and 3.0 is not a whole number.

    Raises:
        SettingsError: A setting is wrong; the message has a line per mistake, with file, line and column.
    """
    adapter: TypeAdapter = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    content: Any = document.content
    for part in at:
        if not isinstance(content, dict) or part not in content:
            raise SettingsError(f"{document.where(at)}: {'.'.join(map(str, at))!r} is missing")
        content = content[part]
    try:
        return adapter.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        # The lines hold the errors' input and context; a chained traceback would repeat them.
        details = error.errors(include_url=False)
    except SettingsError as error:
        raise SettingsError(f"{document.where(at)}: {error}") from None
    schema = adapter.json_schema()
    problems = [_locate(detail, schema=schema, content=content, at=tuple(at)) for detail in details]
    raise SettingsError("\n".join(_lines(problems, document)))


def _lines(problems: list[_Problem], document: Document) -> list[str]:
    """Return a line per path; the errors of a union's members share one."""
    grouped: dict[KeyPath, list[_Problem]] = {}
    for problem in problems:
        # Of a union's members, the intended one is that with errors deeper inside.
        if not any(_inside(other.path, problem.path) for other in problems):
            grouped.setdefault(problem.path, []).append(problem)
    misspelt = {path for problem in problems for path in _misspelt(problem)}
    for path in misspelt & grouped.keys():
        if grouped[path][0].details["type"] == "missing":
            del grouped[path]
    return [f"{document.where(path)}: {_describe(group)}" for path, group in grouped.items()]


def _inside(path: KeyPath, other: KeyPath) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def _describe(group: list[_Problem]) -> str:
    first = group[0]
    context = first.details.get("ctx", {})
    match first.details["type"]:
        case "extra_forbidden":
            return _unknown(first)
        case "missing":
            return f"{first.name!r} is missing"
        case "union_tag_not_found":
            return f"'{first.name}.{_tag_name(first)}' is missing, expected {_choices(first)}"
        case "union_tag_invalid":
            tag = f"{first.name}.{_tag_name(first)}"
            return f"{tag}: {context['tag']!r} was given, expected {_choices(first)}"
        case "value_error" | "assertion_error":
            message = str(context["error"])
            return f"{first.name}: {message}" if first.name else message
    expected = " or ".join(dict.fromkeys(_expectation(problem.details) for problem in group))
    given = shorten(first.details["input"])
    return f"{first.name or 'the content'}: {given} was given, expected {expected}"


def _expectation(details: ErrorDetails) -> str:
    template = _EXPECTED.get(details["type"])
    if template is not None:
        return template.format(**details.get("ctx", {}))
    return details["msg"].removeprefix("Input should be ").replace("\n", " ")


def _unknown(problem: _Problem) -> str:
    given = str(problem.path[-1])
    parent = ".".join(str(part) for part in problem.path[:-1])
    fields = list(problem.parent.get("properties", {}))
    hint = _did_you_mean(given, fields) or f". Its settings are {', '.join(fields) or 'none'}"
    return f"{problem.name!r} is not a setting of {parent or 'this document'}{hint}"


def _misspelt(problem: _Problem) -> list[KeyPath]:
    """Return the paths of settings that an unknown key may misspell: that they are missing needs no other line."""
    if problem.details["type"] != "extra_forbidden":
        return []
    names = _alike(str(problem.path[-1]), list(problem.parent.get("properties", {})))
    return [(*problem.path[:-1], name) for name in names]


def _alike(given: str, known: list[str]) -> list[str]:
    close = difflib.get_close_matches(given, known, n=2)
    return close or [name for name in known if _initials(given) == name or given == _initials(name)]


def _did_you_mean(given: str, known: list[str]) -> str:
    close = _alike(given, known)
    return f". Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.split("_"))


def _mapping_of(schema: Schema) -> dict[str, str]:
    return schema.get("discriminator", {}).get("mapping", {})


def _tag_name(problem: _Problem) -> str:
    return str(problem.details.get("ctx", {})["discriminator"]).strip("'").removesuffix("()")


def _choices(problem: _Problem) -> str:
    return " or ".join(repr(tag) for tag in _mapping_of(problem.schema))


def _locate(details: ErrorDetails, *, schema: Schema, content: Any, at: KeyPath) -> _Problem:
    """Follow an error's location through the schema; only its parts that are in the document are kept."""
    definitions = schema.get("$defs", {})
    path, parent, here = at, schema, _resolve(schema, definitions)
    for part in details["loc"]:
        branch = _branch(here, part, definitions)
        if branch is not None:
            here = branch
            continue
        child = _child(here, part)
        if child is None and not _has(content, part):
            continue  # a label that pydantic adds, such as the name of a union's member
        content = content[part] if _has(content, part) else None
        path, parent, here = (*path, part), here, _resolve(child or {}, definitions)
    return _Problem(path=path, parent=parent, schema=here, details=details)


def _resolve(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Follow references, and unions that have one member besides null."""
    while True:
        members = [member for member in schema.get("anyOf", []) if member.get("type") != "null"]
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
        elif len(members) == 1:
            schema = members[0]
        else:
            return schema


def _branch(schema: Schema, part: str | int, definitions: dict[str, Schema]) -> Schema | None:
    """Return the member of a union that a part of a location names; None: it names none."""
    if part in _mapping_of(schema):
        return _resolve({"$ref": _mapping_of(schema)[str(part)]}, definitions)
    for member in schema.get("anyOf", []):
        resolved = _resolve(member, definitions)
        if resolved.get("title") == part or (_mapping_of(resolved) and str(part).startswith("tagged-union")):
            return resolved
    return None


def _child(schema: Schema, part: str | int) -> Schema | None:
    """Return the schema of a key or an item; None: the schema has none."""
    if isinstance(part, int):
        prefix = schema.get("prefixItems", [])
        return prefix[part] if part < len(prefix) else schema.get("items")
    if "properties" in schema:
        return schema["properties"].get(part, {})
    if isinstance(others := schema.get("additionalProperties"), dict) and part != "[key]":
        return others
    return None


def _has(content: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(content, list) and part < len(content)
    return isinstance(content, dict) and part in content
