"""The content of a page about several searches side by side, as plain JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from emotune.report.content import Document, Source, page_content
from emotune.report.costs import price
from emotune.search.records import Value
from emotune.study.results import opened

SHARED = (
    "name",
    "purpose",
    "state",
    "begun",
    "last",
    "objective",
    "configurations",
    "metrics",
    "incumbents",
    "best",
    "baselines",
    "cost",
)
"""Parts of the content of each search that the page shows."""

MAX_VALUE_LENGTH = 80
"""Characters of a setting's value in the table of differences."""


def comparison_content(sources: Sequence[Source]) -> Document:
    """Return the content of a page about several searches."""
    searches = [page_content(replace(source, folder=None)) for source in sources]
    names = [search["name"] for search in searches]
    best_rows = [_best_row(search) for search in searches]
    studies = [opened(source.records).study for source in sources]
    return {
        "title": " · ".join(names),
        "searches": [{name: search[name] for name in SHARED} for search in searches],
        "several_objectives": len({str(search["objective"]) for search in searches}) > 1,
        "several_data": len({str((study.get("base") or {}).get("fingerprint")) for study in studies}) > 1,
        "best_rows": _transposed(best_rows, names=_distinct(names)),
        "best_columns": ["", *_distinct(names)],
        "differences": differing_settings(studies, names=names),
        "difference_columns": ["setting", *_distinct(names)],
    }


def differing_settings(studies: Sequence[Mapping[str, Any]], *, names: Sequence[str]) -> list[Document]:
    """Return a row for each setting that is not equal in all studies: ``setting``, and its value by search."""
    flat = [dict(_flatten(study)) for study in studies]
    rows = []
    for setting in dict.fromkeys(name for study in flat for name in study):
        values = [study.get(setting) for study in flat]
        if any(value != values[0] or isinstance(value, bool) != isinstance(values[0], bool) for value in values):
            shown = [None if value is None else str(value)[:MAX_VALUE_LENGTH] for value in values]
            rows.append({"setting": setting, **dict(zip(_distinct(names), shown, strict=True))})
    return rows


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, numbered where one occurs twice."""
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, 1)]


def _flatten(content: Any, *, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the values of nested mappings by dotted name; hyperparameters are named by their setting."""
    if isinstance(content, Mapping):
        return [pair for key, value in content.items() for pair in _flatten(value, prefix=f"{prefix}{key}.")]
    if isinstance(content, list) and all(isinstance(item, Mapping) and "name" in item for item in content):
        return [
            pair
            for item in content
            for pair in _flatten(
                {key: value for key, value in item.items() if key != "name"}, prefix=f"{prefix}{item['name']}."
            )
        ]
    return [(prefix.removesuffix("."), content)]


def _transposed(rows: Sequence[Document], *, names: Sequence[str]) -> list[Document]:
    """Return a row for each column, with its value by search."""
    return [
        {"": column, **{name: row.get(column) for name, row in zip(names, rows, strict=True)}}
        for column in dict.fromkeys(column for row in rows for column in row)
    ]


def _best_row(search: Document) -> Document:
    best, cost = search["best"], search["cost"]
    values: dict[str, Value] = {} if best is None else best["values"]
    hours, per_hour = cost["spent_s"] * cost["per_evaluation"] / 3600, cost["price_per_hour"]
    return {
        "state": search["state"],
        "searcher": search["searcher"],
        search["objective"]["metric"]: None if best is None else best["objective"],
        "epochs": None if best is None else best["epochs"],
        "configurations": len(search["configurations"]["config"]),
        f"{cost['unit']}-hours": hours,
        **({} if per_hour is None else {"price": price(hours, per_hour=per_hour)}),
        **values,
    }
