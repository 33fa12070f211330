"""Inspection page of a store: example segments, amplitude spectrum and distribution of values."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import ALL_CHANNELS, SegmentStore
from emotune.errors import SettingsError
from emotune.files import check_output, write_output
from emotune.randomness import stream

ENDING = ".png"
MAINS = (50.0, 60.0)
"""Frequencies of power lines, in Hz."""

SPECTRUM_SEGMENTS = 400
"""Number of segments whose spectrum and values are drawn, chosen as the examples are."""

LARGEST_VALUE = 10.0
"""Limit of the histogram of values, in standard deviations."""

LONGEST_TITLE = 150
"""Characters in the title of an example."""
COLOURS = ("#1f5fa8", "#c2571a", "#2b8a3e", "#b02a37", "#6f42c1", "#0c8599", "#8d6e00", "#a61e8b", "#5c6670", "#3b5b00")

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 0.8,
    "legend.frameon": False,
}


def write_picture(store: SegmentStore, *, file: Path) -> None:
    """Write the inspection page of a store as PNG, as `write_output` does.

    The same store gives the same page.

    Raises:
        SettingsError: The file cannot be written, or its name does not end in ``.png``.
    """
    if file.suffix.lower() != ENDING:
        raise SettingsError(f"--plot {file}: the name must end in {ENDING}; type --plot {file}{ENDING}")
    check_output(file, option="--plot")
    write_output(file, draw_picture(store), option="--plot")


def draw_picture(store: SegmentStore) -> bytes:
    """Return the inspection page of a store as PNG.

    The examples are spread evenly over corpora and subjects. Channels of a segment are drawn one below the
    other. Below the examples are the amplitude spectrum of up to `SPECTRUM_SEGMENTS` segments, with the edges
    of the band and the frequencies of power lines, and the distribution of their values.

    Raises:
        SettingsError: The store holds features.
    """
    if store.holds_features:
        raise SettingsError(f"{store.path} contains features; give a store of signals")
    layout = MODALITIES[store.modality].plot
    corpora = list(dict.fromkeys(store.index["corpus"]))
    colours = dict(zip(corpora, cycle(COLOURS), strict=False))
    chosen = choose_evenly(store.index, count=max(layout.examples, len(corpora)))
    rows = math.ceil(len(chosen) / layout.columns)
    heights = [rows * layout.height + 0.6, 4.2]
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Matplotlib warns about letters that the font does not have, and draws boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(14, sum(heights)), layout="constrained")
        grid = figure.add_gridspec(2, 1, height_ratios=heights)
        below = figure.add_subfigure(grid[1])
        _draw_examples(figure.add_subfigure(grid[0]), store, chosen=chosen, columns=layout.columns, colours=colours)
        left, right = below.subplots(1, 2)
        samples = _samples(store, corpora=corpora)
        _draw_spectra(left, store, samples=samples, colours=colours)
        _draw_values(right, samples=samples, colours=colours)
        figure.suptitle(_heading(store), fontsize=11, parse_math=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def choose_evenly(index: pd.DataFrame, *, count: int) -> list[int]:
    """Return positions of segments, as many of each corpus, spread evenly over the subjects of a corpus.

    The segments of a subject are drawn at random with a fixed seed, so that the result is always the same.

    Args:
        index: Index of a store.
        count: Number of segments; fewer are returned only if the store has fewer.
    """
    corpora = list(dict.fromkeys(index["corpus"]))
    chosen: list[int] = []
    for number, corpus in enumerate(corpora):
        share = count // len(corpora) + (number < count % len(corpora))
        subjects = index.loc[index["corpus"] == corpus, "subject"]
        names = list(dict.fromkeys(subjects))
        picks = np.floor((np.arange(share) + 0.5) * len(names) / max(share, 1)).astype(int)
        positions = np.flatnonzero(index["corpus"] == corpus)
        for subject, times in zip(*np.unique(picks, return_counts=True), strict=True):
            own = positions[(subjects == names[subject]).to_numpy()]
            shares = (np.arange(times) + stream(0, "picture", corpus, names[subject]).uniform(size=times)) / times
            chosen += own[np.unique(np.floor(shares * len(own)).astype(int))].tolist()
    return chosen


def amplitudes(
    segments: Float[np.ndarray, "segment channel time"], *, rate: int
) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, "trace bin"]]:
    """Return frequencies in Hz and the amplitude spectrum of each channel of each segment (Hann window)."""
    samples = segments.shape[-1]
    window = np.hanning(samples)
    spectra = np.abs(np.fft.rfft(segments.reshape(-1, samples) * window)) * 2 / window.sum()
    return np.fft.rfftfreq(samples, 1 / rate), spectra


def describe_segment(row: Mapping[str, Any]) -> str:
    """Return the title of a segment: corpus, subject, session, lead, start, condition and ratings."""
    ratings = {name.removeprefix("rating_"): row[name] for name in row if name.startswith("rating_")}
    parts = [
        str(row["corpus"]),
        f"subject {row['subject']}",
        f"session {row['session']}",
        "" if row["channel"] == ALL_CHANNELS else f"lead {row['channel']}",
        f"from {row['start']:g} s",
        row["condition"],
        ", ".join(f"{name} {value:.3g}" for name, value in ratings.items() if not math.isnan(value)),
    ]
    line = "  ·  ".join(part for part in parts if part)
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1] + "…"


def _heading(store: SegmentStore) -> str:
    settings = PrepareSettings.model_validate(store.about.settings)
    scale = "of each subject's channel" if settings.normalise == "subject" else "of each segment's channel"
    return (
        f"{store.path.name}: {len(store)} segments of {store.seconds:g} s {MODALITIES[store.modality].label}, "
        f"{store.rate} Hz, {settings.band_text}, in standard deviations {scale}; "
        f"fingerprint {store.fingerprint[:12]}"
    )


def _samples(store: SegmentStore, *, corpora: Sequence[str]) -> dict[str, Float[np.ndarray, "segment channel time"]]:
    chosen = choose_evenly(store.index, count=max(SPECTRUM_SEGMENTS, len(corpora)))
    names = store.index["corpus"].to_numpy()[chosen]
    return {corpus: store.signal[np.array(chosen)[names == corpus]] for corpus in corpora}


def _draw_examples(
    figure: SubFigure, store: SegmentStore, *, chosen: Sequence[int], columns: int, colours: Mapping[str, str]
) -> None:
    panels = figure.subplots(math.ceil(len(chosen) / columns), columns, squeeze=False, sharex=True)
    seconds = np.arange(store.signal.shape[-1]) / store.rate
    table = store.index.iloc[list(chosen)].to_dict("records")
    for axes, position, row in zip(panels.ravel(), chosen, table, strict=False):
        fields = {str(name): value for name, value in row.items()}
        _draw_segment(
            axes, store.signal[position], seconds=seconds, names=store.channels, colour=colours[row["corpus"]]
        )
        axes.set_title(describe_segment(fields), fontsize=8 if columns > 1 else 9, parse_math=False)
        axes.set_xlim(0, store.seconds)
        axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 5, 10]))
    for axes in panels.ravel()[len(chosen) :]:
        axes.set_axis_off()
    for axes in panels[-1]:
        axes.set_xlabel("seconds")


def _draw_segment(
    axes: Axes,
    segment: Float[np.ndarray, "channel time"],
    *,
    seconds: Float[np.ndarray, " time"],
    names: Sequence[str],
    colour: str,
) -> None:
    if len(segment) == 1:
        axes.plot(seconds, segment[0], color=colour)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        return
    distance = max(2.0, 2 * float(np.quantile(np.abs(segment), 0.99)))
    baselines: Int[np.ndarray, " channel"] = np.arange(len(segment))[::-1]
    axes.plot(seconds, (segment / distance + baselines[:, None]).T, color=colour)
    axes.set_yticks(baselines, names)
    axes.set_ylim(-1, len(segment))
    axes.set_ylabel(f"channels {distance:.1f} apart")


def _draw_spectra(
    axes: Axes, store: SegmentStore, *, samples: Mapping[str, np.ndarray], colours: Mapping[str, str]
) -> None:
    for corpus, segments in samples.items():
        frequency, spectra = amplitudes(segments, rate=store.rate)
        middle, most = np.quantile(spectra, [0.5, 0.95], axis=0)
        axes.plot(frequency, middle, color=colours[corpus], label=f"{corpus}, {len(segments)} segments")
        axes.plot(frequency, most, color=colours[corpus], alpha=0.5, linewidth=0.5)
    top = axes.get_ylim()[1]
    axes.set(xlim=(0, store.rate / 2), ylim=(top * 1e-6, top), yscale="log", xlabel="Hz", ylabel="amplitude")
    for edge in store.about.settings["band"]:
        axes.axvline(edge, color="0.2", linewidth=1)
    for mains in MAINS:
        axes.axvline(mains, color="0.2", linewidth=1, linestyle=":")
    axes.set_title(
        "Amplitude spectrum: median (thick) and 95 % quantile (thin) of segments and channels;\n"
        "the edges of the band, and mains (dotted)"
    )
    _add_legend(axes, place="lower left")


def _draw_values(axes: Axes, *, samples: Mapping[str, np.ndarray], colours: Mapping[str, str]) -> None:
    bins = np.linspace(-LARGEST_VALUE, LARGEST_VALUE, 201)
    middles = (bins[:-1] + bins[1:]) / 2
    for corpus, segments in samples.items():
        values = segments.ravel()
        density, _ = np.histogram(values.clip(-LARGEST_VALUE, LARGEST_VALUE), bins=bins, density=True)
        label = f"{corpus}: standard deviation {values.std():.2f}, farthest {np.abs(values).max():.0f}"
        axes.plot(middles, density, color=colours[corpus], drawstyle="steps-mid", label=label)
    axes.plot(middles, np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi), color="0.2", linestyle=":", label="normal")
    axes.set(
        xlim=(-LARGEST_VALUE, LARGEST_VALUE),
        ylim=(1e-6, 5),
        yscale="log",
        xlabel="standard deviations",
        ylabel="density",
    )
    axes.set_title(f"Values; what is beyond {LARGEST_VALUE:g} is in the last bins")
    _add_legend(axes, place="upper right")


def _add_legend(axes: Axes, *, place: Literal["lower left", "upper right"]) -> None:
    legend = axes.legend(fontsize=8, loc=place)
    legend.set_in_layout(False)  # the legend of many corpora is higher than the axes
    for text in legend.get_texts():
        text.set_parse_math(False)
