"""A figure of one moment: the ECG, the EEG, and the probabilities of both and of their fusion."""

import io
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emotune.data.modality import MODALITIES, Modality
from emotune.errors import SettingsError
from emotune.evaluation.fused_moment import FusedMoment, title_of
from emotune.evaluation.prediction_plot import COLOURS, STYLE
from emotune.files import write_output

SUFFIXES = (".png", ".pdf", ".svg")
"""Suffixes that a figure's file can have."""

MIN_HEIGHT = 1.6
"""Height (inches) of the panel of a single channel."""

CHANNEL_HEIGHT = 0.38
"""Height (inches) of a channel among many."""

AMPLITUDE_SHARE = 0.999
"""Share of a channel's samples that fit into its row; larger amplitudes are clipped."""


def check_figure(file: Path, *, option: str) -> None:
    """Check the suffix of a figure's file.

    Raises:
        SettingsError: It is none of `SUFFIXES`.
    """
    if file.suffix.lower() not in SUFFIXES:
        expected = ", ".join(SUFFIXES)
        raise SettingsError(f"{option} {file}: the name must end in {expected}; type {option} {file}{SUFFIXES[0]}")


def write_moment(moment: FusedMoment, *, file: Path, option: str) -> None:
    """Write the figure of a moment to a file; its suffix chooses the format.

    Raises:
        SettingsError: The file cannot be written.
    """
    write_output(file, draw_moment(moment, kind=file.suffix.lower().removeprefix(".")), option=option)


def draw_moment(moment: FusedMoment, *, kind: str) -> bytes:
    """Return the figure as the bytes of a file of a kind: ``png``, ``pdf`` or ``svg``."""
    heights = [*(_height(len(rows)) for rows in moment.signals.values()), 1.5]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, sum(heights) + 1.2), layout="constrained")
        *above, below = figure.subplots(len(heights), 1, height_ratios=heights)
        for axes, (modality, signal) in zip(above, moment.signals.items(), strict=True):
            _draw_signal(axes, signal, modality=modality, moment=moment)
        _draw_probabilities(below, moment)
        figure.suptitle(_heading(moment), fontsize=11, parse_math=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150)
    return buffer.getvalue()


def _height(channels: int) -> float:
    return max(MIN_HEIGHT, CHANNEL_HEIGHT * channels)


def _heading(moment: FusedMoment) -> str:
    return f"{moment.where}: {moment.classes[moment.label]} (test segment of fold {moment.fold})"


def _draw_signal(
    axes: Axes, signal: Float32[np.ndarray, "channel time"], *, modality: Modality, moment: FusedMoment
) -> None:
    names = moment.channels[modality]
    seconds = moment.start + np.linspace(0, moment.seconds, signal.shape[1], endpoint=False)
    for number, samples in enumerate(signal):
        amplitude = float(np.quantile(np.abs(samples), AMPLITUDE_SHARE)) or 1.0
        heights = len(names) - 1 - number + np.clip(samples / (2.2 * amplitude), -0.5, 0.5)
        axes.plot(seconds, heights, color="0.2", linewidth=0.7)
    axes.set_yticks(range(len(names)), names[::-1], parse_math=False)
    axes.set(ylim=(-0.6, len(names) - 0.4), xlim=(moment.start, moment.start + moment.seconds), xlabel="seconds")
    axes.set_title(f"{MODALITIES[modality].label}, standardised over the person; each channel has its own scale")


def _draw_probabilities(axes: Axes, moment: FusedMoment) -> None:
    names = list(moment.probabilities)
    for row, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        value, right = moment.probabilities[name], moment.is_right(name)
        axes.barh(row, value, height=0.6, color=colour, alpha=1.0 if right else 0.4)
        axes.text(value + 0.01, row, f"{value:.2f}, {'right' if right else 'wrong'}", va="center")
    axes.axvline(0.5, color="0.5", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), [title_of(name) for name in names])
    axes.set(xlim=(0, 1.15), xticks=np.linspace(0, 1, 6), ylim=(len(names) - 0.5, -0.5), xlabel="probability")
    axes.set_title(f"Probability of {moment.classes[1]}, with both classes weighted equally", parse_math=False)
