"""From a document to settings; and from pydantic's errors to lines a person can act on."""

import dataclasses
import difflib
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from emotune.documents.text import Document, Place, shorten
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
    """One of pydantic's errors, at its place in the document."""

    place: Place
    parent: Schema
    """Schema of the mapping that holds the place."""
    schema: Schema
    details: ErrorDetails

    @property
    def name(self) -> str:
        return ".".join(str(part) for part in self.place)


def parse(document: Document, model: type[M] | TypeAdapter, *, at: Sequence[str | int] = ()) -> M:
    """Validate a document, or the part of it at a place, and return the settings it describes.

    Validation is strict: text is no number, and 3.0 is no whole number.

    Raises:
        SettingsError: Something is wrong; one line for each mistake, each with file, line and column.
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
        # The errors' input and context go into the lines; a chained traceback would say it all again.
        details = error.errors(include_url=False)
    except SettingsError as error:
        raise SettingsError(f"{document.where(at)}: {error}") from None
    schema = adapter.json_schema()
    problems = [_locate(each, schema=schema, content=content, at=tuple(at)) for each in details]
    raise SettingsError("\n".join(_lines(problems, document)))


def _lines(problems: list[_Problem], document: Document) -> list[str]:
    """Describe the problems, one line for each place; alternatives of a union share theirs."""
    grouped: dict[Place, list[_Problem]] = {}
    for problem in problems:
        # Of a union's alternatives, the one that was meant is the one whose parts were looked at.
        if not any(_inside(other.place, problem.place) for other in problems):
            grouped.setdefault(problem.place, []).append(problem)
    misspelt = {place for problem in problems for place in _meant(problem)}
    for place in misspelt & grouped.keys():
        if grouped[place][0].details["type"] == "missing":
            del grouped[place]
    return [f"{document.where(place)}: {_describe(group)}" for place, group in grouped.items()]


def _inside(place: Place, other: Place) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


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
    given = str(problem.place[-1])
    parent = ".".join(str(part) for part in problem.place[:-1])
    fields = list(problem.parent.get("properties", {}))
    hint = _did_you_mean(given, fields) or f". Its settings are {', '.join(fields) or 'none'}"
    return f"{problem.name!r} is not a setting of {parent or 'this document'}{hint}"


def _meant(problem: _Problem) -> list[Place]:
    """Return the places that an unknown key may have been meant for: what is missing there needs no other line."""
    if problem.details["type"] != "extra_forbidden":
        return []
    names = _alike(str(problem.place[-1]), list(problem.parent.get("properties", {})))
    return [(*problem.place[:-1], name) for name in names]


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


def _locate(details: ErrorDetails, *, schema: Schema, content: Any, at: Place) -> _Problem:
    """Follow an error's location through the schema; of the location, only what the document has is kept."""
    definitions = schema.get("$defs", {})
    place, parent, here = at, schema, _resolve(schema, definitions)
    for part in details["loc"]:
        branch = _branch(here, part, definitions)
        if branch is not None:
            here = branch
            continue
        child = _child(here, part)
        if child is None and not _has(content, part):
            continue  # a label of pydantic's, such as the name of a union's member
        content = content[part] if _has(content, part) else None
        place, parent, here = (*place, part), here, _resolve(child or {}, definitions)
    return _Problem(place=place, parent=parent, schema=here, details=details)


def _resolve(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Follow references, and unions that have one member besides null."""
    while True:
        members = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
        elif len(members) == 1:
            schema = members[0]
        else:
            return schema


def _branch(schema: Schema, part: str | int, definitions: dict[str, Schema]) -> Schema | None:
    """Return the member of a union that a part of a location names, if it names one."""
    if part in _mapping_of(schema):
        return _resolve({"$ref": _mapping_of(schema)[str(part)]}, definitions)
    for member in schema.get("anyOf", []):
        resolved = _resolve(member, definitions)
        if resolved.get("title") == part or (_mapping_of(resolved) and str(part).startswith("tagged-union")):
            return resolved
    return None


def _child(schema: Schema, part: str | int) -> Schema | None:
    """Return the schema of a key or an item; None if the schema has no such thing."""
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
