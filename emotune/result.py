"""The result of a search or run, read from its journal."""

import base64
import io
import math
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotune.cli.actions.folders import existing_records
from emotune.errors import SettingsError
from emotune.search.records import Record, Value
from emotune.study.results import last_metrics, status_document
from emotune.tracking.delivery import mlflow_runs, read_delivery_state, view_url

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Best:
    """The best configuration of a search: among those that were trained longest, the one with the best objective.

    With several objectives it is the one of the Pareto front with the best first objective.
    """

    config_id: int
    """Number of the configuration."""
    values: dict[str, Value]
    """Its values by name; empty for a run without a search."""
    objective: float
    """Value of the metric that is optimised."""
    epochs: int
    """Epochs that it was trained."""
    metrics: dict[str, float]
    """All metrics of its last epoch; those that are not finite are nan."""
    mode: str
    """``min`` or ``max``: whether the metric is minimised or maximised."""

    @property
    def loss(self) -> float:
        """The objective as a loss, which is minimised: its negative for ``max``."""
        return self.objective if self.mode == "min" else -self.objective


@dataclass(frozen=True)
class Result:
    """A search or run: its best configuration, its evaluations, its report.

    It is read from the journal when it is made, and does not change.
    """

    name: str
    """Name of the search."""
    storage: str
    """Folder of the searches, or ``s3://BUCKET/PREFIX``."""
    document: dict[str, Any] = field(repr=False)
    """The document of ``emotune status NAME --json``."""
    _metrics: dict[str, float] = field(default_factory=dict, repr=False)
    _records: tuple[Record, ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, name: str, *, storage: str) -> "Result":
        """Return the result of a search, also of a running or an interrupted one.

        Raises:
            SettingsError: There is no such search.
            DamageError: Its journal is damaged.
        """
        folder, records = existing_records(name, storage=storage)
        document = status_document(
            records,
            alive=folder.driver_alive,
            mlflow_runs=mlflow_runs(folder.storage),
            stop_request=folder.requested_stop(),
            with_rungs=False,
        )
        best = document["best"]
        metrics = {} if best is None else last_metrics(records, best["config_id"])
        finite = {key: math.nan if value is None else value for key, value in metrics.items()}
        return cls(name, storage, document, finite, tuple(records))

    def _repr_html_(self) -> str:
        """Return the summary and the evaluations, as a notebook shows them."""
        best = self.document["best"]
        metric = self.document["objective"]["metric"]
        values = {} if best is None else best["values"]
        text = "no result yet" if best is None else f"{metric} {best['objective']:.6g} after {best['epochs']} epochs"
        settings = "".join(f", {name} = {value}" for name, value in values.items())
        line = f"<b>{escape(self.name)}</b>: {self.state}; best: {escape(text + settings)}"
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png", dpi=90)
        source = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
        image = f'<img alt="learning curves and the best configuration of the search" src="{source}">'
        return f"<p>{line}</p>{image}{self.table.to_html(max_rows=10, index=False)}"

    def figure(self) -> "Figure":
        """Return a Matplotlib figure: learning curves, and the best objective over the trained epochs."""
        from emotune.report.inline_figure import draw_search  # noqa: PLC0415 (it imports Matplotlib)

        return draw_search(self._records)

    @property
    def state(self) -> str:
        """``running``, ``interrupted``, ``finished`` or ``failed``."""
        return self.document["state"]

    @property
    def best(self) -> Best:
        """The best configuration.

        Raises:
            SettingsError: No evaluation has a result yet.
        """
        best = self.document["best"]
        if best is None:
            raise SettingsError(f"the search {self.name!r} has no result yet; wait until an evaluation has ended")
        return Best(
            config_id=best["config_id"],
            values=best["values"],
            objective=best["objective"],
            epochs=best["epochs"],
            metrics=self._metrics,
            mode=self.document["objective"]["mode"],
        )

    @property
    def front(self) -> "pd.DataFrame":
        """The Pareto front, one row per configuration, the best of the first objective first.

        Columns are ``config_id``, ``epochs``, the metrics of the objectives and constraints, and the values. With one
        objective it has the best configuration alone; it is empty while no result meets the constraints.
        """
        import pandas as pd  # noqa: PLC0415 (it takes half a second)

        document = self.document
        single = [] if document["best"] is None or document.get("feasible") == 0 else [document["best"]]
        metric = document["objective"]["metric"]
        rows = [
            {"config_id": entry["config_id"], "epochs": entry["epochs"]}
            | entry.get("measured", {metric: entry["objective"]})
            | entry["values"]
            for entry in document.get("front", single)
        ]
        return pd.DataFrame(rows, columns=None if rows else ["config_id", "epochs", metric])

    @property
    def table(self) -> "pd.DataFrame":
        """The evaluations, one row each, in the order of their decisions; the values are columns of their own names."""
        import pandas as pd  # noqa: PLC0415 (it takes half a second)

        evaluations = self.document["evaluations"]
        names = dict.fromkeys(name for evaluation in evaluations for name in evaluation["values"])
        rows = [
            {key: value for key, value in evaluation.items() if key not in {"values", "measured"}}
            | evaluation.get("measured", {})
            | {name: evaluation["values"].get(name) for name in names}
            for evaluation in evaluations
        ]
        return pd.DataFrame(rows)

    @property
    def mlflow_url(self) -> str | None:
        """The page of the search in MLflow; of a database, where ``emotune ui NAME`` serves it. None: not sent yet."""
        folder, _ = existing_records(self.name, storage=self.storage)
        return view_url(folder.storage)

    @property
    def tracking_uri(self) -> str | None:
        """The MLflow server or database that has the search; None: not sent yet."""
        folder, _ = existing_records(self.name, storage=self.storage)
        return read_delivery_state(folder.storage).uri or None

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one self-contained HTML page.

        Args:
            path: The file; by default ``report.html`` in the folder of the search.

        Returns:
            The file.

        Raises:
            SettingsError: The file cannot be written.
        """
        from emotune.cli.actions.report_page import ReportRequest, write_page  # noqa: PLC0415 (it imports figures)

        out = existing_records(self.name, storage=self.storage)[0].path / "report.html" if path is None else Path(path)
        request = ReportRequest(
            names=(self.name,), out=out, watch=None, signals=True, storage=self.storage, announce=False
        )
        write_page(request)
        return out
