"""A plot of a recording with the predicted probabilities below it (PNG)."""

import io
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emotune.data.modality import MODALITIES
from emotune.errors import SettingsError
from emotune.evaluation.prediction import Prediction
from emotune.files import write_output

SUFFIX = ".png"
"""Suffix that a plot's file must have."""

COLOURS = ("#1f5fa8", "#c2571a", "#2b8a3e", "#6f42c1")

MAX_TRACES = 12
"""Number of leads that are drawn at most; the probabilities of all leads are drawn."""

MAX_BINS = 1500
"""Number of bins of the time axis; a longer signal is drawn by the minimum and maximum of each bin."""

UNCLIPPED_SHARE = 0.999
"""Share of a trace's samples that fit into its row; larger amplitudes are clipped."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
"""Style of the figures of predictions."""


def write_plot(prediction: Prediction, *, file: Path) -> None:
    """Write the plot to a file, as `write_output` does.

    Raises:
        SettingsError: The file cannot be written, or its suffix is not ``.png``.
    """
    if file.suffix.lower() != SUFFIX:
        raise SettingsError(f"--plot {file}: the name must end in {SUFFIX}; type --plot {file}{SUFFIX}")
    write_output(file, draw_plot(prediction), option="--plot")


def draw_plot(prediction: Prediction) -> bytes:
    """Return the plot as the bytes of a PNG file."""
    heights = [0.5 + 0.45 * min(len(prediction.names), MAX_TRACES), 2.2]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14, sum(heights) + 0.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
        _draw_signal(above, prediction)
        _draw_probabilities(below, prediction)
        below.set(xlim=(prediction.starts.min(), prediction.ends.max()), xlabel="seconds")
        figure.suptitle(_heading(prediction), fontsize=11, parse_math=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _heading(prediction: Prediction) -> str:
    means = "; ".join(
        f"{target}: {prediction.label(target, [*by_class.values()])}, mean probability of "
        + ", ".join(f"{name} {mean:.2f}" for name, mean in by_class.items())
        for target in prediction.models
        if (by_class := prediction.means(target))
    )
    return f"{prediction.file.name}: {means}"


def _draw_signal(axes: Axes, prediction: Prediction) -> None:
    shown = prediction.names[:MAX_TRACES]
    for number, name in enumerate(shown):
        runs = list(_contiguous_runs(prediction, number=number))
        amplitude = float(np.quantile(np.abs(np.concatenate([samples for _, samples in runs])), UNCLIPPED_SHARE))
        for start, samples in runs:
            seconds, values = thin(samples, start=start, rate=prediction.preparation.rate)
            heights = len(shown) - 1 - number + np.clip(values / (2.2 * amplitude), -0.5, 0.5)
            axes.plot(seconds, heights, color="0.25", linewidth=0.5, label=name)
    axes.set_yticks(range(len(shown)), shown[::-1], parse_math=False)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    hidden = len(prediction.names) - len(shown)
    omission = f"; {hidden} more leads are not drawn" if hidden else ""
    preparation = prediction.preparation
    over = "segment by segment" if preparation.normalise == "segment" else "over this file alone"
    axes.set_title(f"{preparation.band_text}, standardised {over}; each row has its own scale{omission}")


def _contiguous_runs(prediction: Prediction, *, number: int) -> Iterator[tuple[float, Float[np.ndarray, " time"]]]:
    """Yield start (s) and samples of each run of segments without a gap, for one trace."""
    by_lead = MODALITIES[prediction.preparation.modality].separate_leads
    chosen = np.array([not by_lead or lead == prediction.names[number] for lead in prediction.leads])
    rows, channel = np.flatnonzero(chosen), 0 if by_lead else number
    breaks = np.flatnonzero(np.diff(prediction.starts[rows]) > prediction.preparation.seconds * 1.001) + 1
    for run in np.split(rows, breaks):
        yield float(prediction.starts[run[0]]), prediction.signals[run, channel].ravel()


def thin(
    samples: Float[np.ndarray, " time"], *, start: float, rate: int
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return times (s) and values to draw; of a long signal, the minimum and maximum of each bin."""
    size = math.ceil(len(samples) / MAX_BINS)
    if size < 3:
        return start + np.arange(len(samples)) / rate, samples
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    ends = np.stack([whole.min(axis=1), whole.max(axis=1)], axis=1).ravel()
    return start + np.arange(len(ends)) * size / 2 / rate, ends


def _draw_probabilities(axes: Axes, prediction: Prediction) -> None:
    axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle=":")
    starts, moment_of = np.unique(prediction.starts, return_inverse=True)
    has_leads = len(starts) < len(prediction.starts)
    drawn = [(target, *part) for target in prediction.models for part in prediction.by_class(target).items()]
    for (target, name, probabilities), colour in zip(drawn, itertools.cycle(COLOURS), strict=False):
        label = f"{name} {target}" if name == "high" else name
        if has_leads:
            axes.hlines(probabilities, prediction.starts, prediction.ends, color=colour, alpha=0.3, linewidth=1)
        means = np.bincount(moment_of, weights=probabilities) / np.bincount(moment_of)
        ends = starts + prediction.preparation.seconds
        axes.hlines(means, starts, ends, color=colour, linewidth=2.5, label=label)
    axes.set(ylim=(0, 1), ylabel="probability")
    axes.set_title(
        "Predicted probability per segment" + (", by lead (thin) and averaged over the leads" if has_leads else "")
    )
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=len(drawn))
