"""The view of an experiment in MLflow's web pages: its table and its charts, as tags of the experiment.

MLflow keeps the state of its pages in tags named ``mlflow.sharedViewState.KEY``, for links that people share. The state
is not a documented interface. This module has all that depends on it; it was tried with MLflow 3.17.2, and
``tests/tracking/test_view.py`` opens the pages in a browser.

Scatter charts of MLflow have linear axes only. A setting with a logarithmic range is drawn by its metric
``log10/SETTING``, see `emotune.tracking.mlflow_content`.
"""

import base64
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

from emotune.search.records import Opened
from emotune.search.schedule import rungs
from emotune.tracking.description import search_id
from emotune.tracking.space_shape import SpaceShape

TRIED_WITH = "3.17.2"
"""Version of MLflow with which the view was tried."""

SHARE_KEY = "emotune"
"""Key of the view in the experiment's tags and in the link."""

VIEW_TAG = f"mlflow.sharedViewState.{SHARE_KEY}"
"""Experiment tag of the view."""

KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
"""Experiment tag that makes MLflow show the pages of model training, and its value."""

MAX_RUNS = 100
"""Runs in a chart at most. MLflow is slow with more."""

RUN_NAME = "attributes.`Run Name`"
"""The table's column of run names."""

RUN_NAME_WIDTH = 250
"""Width of this column (px), for names such as ``c0007-lr3e-4-layers2``."""

GRID_COLUMNS = {"attributes.`Duration`": "duration"}
"""Names of columns in the order of the table that differ from those in the selection of columns."""

OBJECTIVE, EPOCHS = "objective", "epochs"
"""Metrics of a configuration: the objective at the end of its last evaluation, and the epochs it had been trained."""

Mode = Literal["CHART", "TABLE"]


def view_path(experiment_id: str, *, mode: Mode = "CHART") -> str:
    """Return the path and query of the link that opens the view of an experiment.

    Without ``workflowType`` MLflow shows its pages for language models, also for an experiment with `KIND_TAG`.
    """
    query = {"compareRunsMode": mode, "viewStateShareKey": SHARE_KEY, "workflowType": "machine_learning"}
    return f"/#/experiments/{quote(experiment_id)}/runs?{urlencode(query)}"


def view_tags(opened: Opened, *, metrics: Iterable[str]) -> dict[str, str]:
    """Return the tags of an experiment that make its view.

    Args:
        opened: First record of the journal.
        metrics: Names of the metrics of the configurations' runs so far, in any order.
    """
    return {KIND_TAG: KIND, VIEW_TAG: encode_state(view_state(opened, metrics=metrics))}


def encode_state(state: Mapping[str, Any]) -> str:
    """Return a state in the compressed form that MLflow reads: a tag has at most 5,000 characters on old servers."""
    text = json.dumps(state, separators=(",", ":"))
    return "deflate;" + base64.b64encode(zlib.compress(text.encode())).decode()


def decode_state(text: str) -> dict[str, Any]:
    """Return the state that `encode_state` encoded."""
    return json.loads(zlib.decompress(base64.b64decode(text.removeprefix("deflate;"))))


def view_state(opened: Opened, *, metrics: Iterable[str]) -> dict[str, Any]:
    """Return the state of MLflow's pages for an experiment: order, filter, columns and charts."""
    names = sorted(metrics)
    match opened.purpose:
        case "configuration":
            layout = _search_layout(opened.study, metrics=names)
        case "fold":
            layout = _fold_layout(opened.study, metrics=names)
        case _:
            layout = _single_run_layout(opened, metrics=names)
    shown = {"emotune.kind": layout.kind, "emotune.search_id": search_id(opened)}
    query = " AND ".join(f"tags.`{key}` = '{value}'" for key, value in shown.items())
    return _state(layout, metrics=names) | {"searchFilter": query}


@dataclass(frozen=True)
class Section:
    """Charts under a title."""

    title: str
    charts: Sequence[dict[str, Any]]
    columns: int = 3
    """Charts in a row."""
    height: int = 320
    """Height of a chart (px)."""


@dataclass(frozen=True)
class Layout:
    """What differs between the views of searches, cross-validations and single runs."""

    kind: str
    """Value of the tag ``emotune.kind`` of the runs to show."""
    order_by: str
    """Column that sorts the table."""
    ascending: bool
    columns: Sequence[str]
    """Columns of the table."""
    sections: Sequence[Section]


def _search_layout(study: Mapping[str, Any], *, metrics: Sequence[str]) -> Layout:
    metric, mode = study["objective"]["metric"], study["objective"]["mode"]
    shape = SpaceShape.of(study["space"])
    axes = {name: _axis(name, logarithmic=name in shape.logarithmic) for name in shape.settings}
    epochs = rung_epochs(study)
    rungs = [
        _scatter(_metric(rung_metric(low)), _metric(rung_metric(high)))
        for low, high in itertools.pairwise(epochs)
        if rung_metric(high) in metrics
    ]
    curves = list(dict.fromkeys([metric, "train/loss"]))
    return Layout(
        kind="configuration",
        order_by=f"metrics.`{OBJECTIVE}`",
        ascending=mode == "min",
        columns=[
            f"metrics.`{OBJECTIVE}`",
            f"metrics.`{EPOCHS}`",
            "tags.`emotune.best`",
            *(f"params.`{name}`" for name in shape.settings),
            "tags.`emotune.status`",
            "attributes.`Duration`",
        ],
        sections=[
            *(
                Section(f"Settings and {metric}{group.title}", [_parallel(group.settings, axes=axes)], 1, 400)
                for group in shape.groups()
            ),
            *(
                Section(f"{metric} at epoch {rung} by setting", _against(axes.values(), rung_metric(rung)))
                for rung in dict.fromkeys([epochs[0], epochs[-1]])
                if rung_metric(rung) in metrics
            ),
            Section("Learning curves", [_line(name) for name in curves], 2, 360),
            Section("Rung against rung", rungs),
        ],
    )


def _fold_layout(study: Mapping[str, Any], *, metrics: Sequence[str]) -> Layout:
    scores = [name for name in metrics if name.startswith("test/") and not name.endswith("_half_width")]
    params = [str(setting["name"]) for setting in study["space"]["hyperparameters"]]
    return Layout(
        kind="fold",
        order_by="attributes.start_time",
        ascending=True,
        columns=[
            *(f"params.`{name}`" for name in params),
            *(f"metrics.`{name}`" for name in scores),
            "tags.`emotune.status`",
            "attributes.`Duration`",
        ],
        sections=[
            Section("Test segments of each fold", [_bar(name) for name in scores], 2, 400),
            Section("Learning curves", [_line("train/loss")], 2, 400),
        ],
    )


def _single_run_layout(opened: Opened, *, metrics: Sequence[str]) -> Layout:
    metric = opened.study["objective"]["metric"]
    scores = [name for name in metrics if name.startswith("test/") and not name.endswith(("_half_width", "/subjects"))]
    validation = [name for name in metrics if name.startswith(("val/", "probe/")) and name != "val/loss"]
    return Layout(
        kind=opened.purpose,
        order_by="attributes.start_time",
        ascending=False,
        columns=[
            *(f"metrics.`{name}`" for name in dict.fromkeys([metric, "train/loss", *scores])),
            "tags.`emotune.epochs`",
            "tags.`emotune.status`",
            "attributes.`Models`",
            "attributes.`Duration`",
        ],
        sections=[
            Section("Loss", [_line("train/loss", "val/loss")], 1, 400),
            Section("Validation segments", [_line(name) for name in validation]),
            Section("Learning rate and speed", [_line("train/lr"), _line("train/segments_per_second")], 2),
            Section("Test segments", [_bar(name) for name in scores]),
        ],
    )


def rung_epochs(study: Mapping[str, Any]) -> list[int]:
    """Return the epochs of a study's rungs, the lowest first."""
    budget = study["budget"]
    return list(rungs(budget["min"], budget["max"], budget["eta"]))


def rung_metric(epochs: int) -> str:
    """Return the name of the metric with the objective at a rung."""
    return f"objective/epoch_{epochs}"


def log_metric(setting: str) -> str:
    """Return the name of the metric with the decadic logarithm of a setting."""
    return f"log10/{setting}"


def _axis(name: str, *, logarithmic: bool) -> dict[str, str]:
    return _metric(log_metric(name)) if logarithmic else {"key": name, "type": "PARAM"}


def _metric(name: str) -> dict[str, str]:
    return {"key": name, "type": "METRIC"}


def _parallel(settings: Sequence[str], *, axes: Mapping[str, dict[str, str]]) -> dict[str, Any]:
    """Return parallel coordinates of settings, epochs and objective; the last axis is that of the colours."""
    chosen = [axes[name] for name in settings]
    return {
        "type": "PARALLEL",
        "selectedParams": [axis["key"] for axis in chosen if axis["type"] == "PARAM"],
        "selectedMetrics": [*(axis["key"] for axis in chosen if axis["type"] == "METRIC"), EPOCHS, OBJECTIVE],
        "showAllRuns": True,
    }


def _against(axes: Iterable[dict[str, str]], metric: str) -> list[dict[str, Any]]:
    return [_scatter(axis, _metric(metric)) for axis in axes]


def _scatter(x: dict[str, str], y: dict[str, str]) -> dict[str, Any]:
    return {"type": "SCATTER", "xaxis": x, "yaxis": y}


def _bar(name: str) -> dict[str, Any]:
    return {"type": "BAR", "metricKey": name}


def _line(*names: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": names[0],
        "selectedMetricKeys": list(names),
        "xAxisKey": "step",
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "lineSmoothness": 0,
        "range": {},
        "selectedXAxisMetricKey": "",
        "selectedYAxisMetricKey": list(names),
        "yAxisKey": "metric",
        "yAxisExpressions": [],
    }


def _state(layout: Layout, *, metrics: Sequence[str]) -> dict[str, Any]:
    sections = [section for section in layout.sections if section.charts]
    charts = [chart for section in sections for chart in _placed_charts(section)]
    shown = {chart["metricKey"] for chart in charts if "metricKey" in chart}
    charts += [_hidden(name, section=sections[0].title) for name in metrics if name not in shown]
    return {
        "orderByKey": layout.order_by,
        "orderByAsc": layout.ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(layout.columns),
        "columnOrder": ["1", RUN_NAME, *(GRID_COLUMNS.get(column, column) for column in layout.columns)],
        "columnWidths": {RUN_NAME: RUN_NAME_WIDTH},
        "runsHiddenMode": "SHOWALL",
        "runsPinned": [],
        "runsHidden": [],
        "runsExpanded": {},
        "autoRefreshEnabled": True,
        "useGroupedValuesInCharts": True,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "compareRunSections": [_placed_section(section) for section in sections],
        "compareRunCharts": charts,
    }


def _placed_section(section: Section) -> dict[str, Any]:
    return {
        "uuid": section.title,
        "name": section.title,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": section.columns,
        "cardHeight": section.height,
    }


def _placed_charts(section: Section) -> Iterator[dict[str, Any]]:
    """Yield the charts of a section with the fields that charts of all types have."""
    for number, chart in enumerate(section.charts):
        yield {
            "uuid": f"{section.title} {number}",
            "metricSectionId": section.title,
            "deleted": False,
            "isGenerated": False,
            "runsCountToCompare": MAX_RUNS,
            **chart,
        }


def _hidden(name: str, *, section: str) -> dict[str, Any]:
    """Return a deleted chart of a metric: for a metric without a chart, MLflow adds one in a section for its prefix."""
    return {
        **_bar(name),
        "uuid": f"hidden {name}",
        "metricSectionId": section,
        "deleted": True,
        "isGenerated": True,
        "runsCountToCompare": MAX_RUNS,
    }
