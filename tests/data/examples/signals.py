"""Small ECG and EEG signals, and writers of EDF and WFDB files that can also write what devices get wrong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

TEN = ("F7", "F3", "T7", "P7", "O1", "O2", "P8", "T8", "F4", "F8")


def heart(seconds: float, *, fs: float, seed: int = 0) -> np.ndarray:
    """An ECG lead in mV with beats of 1.1 mV, 72 per minute."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * fs)) / fs
    phase = np.mod(time, 60 / 72) - 0.3
    waves = ((-0.17, 0.025, 0.12), (0, 0.011, 1.0), (0.028, 0.011, -0.25), (0.25, 0.05, 0.28))
    beats = sum(height * np.exp(-0.5 * ((phase - at) / width) ** 2) for at, width, height in waves)
    return beats + 0.02 * random.standard_normal(len(time))


def brain(seconds: float, *, fs: float, channels: int = 10) -> np.ndarray:
    """EEG channels in uV with a standard deviation of 20 uV."""
    noise = np.random.default_rng(channels).standard_normal((channels, round(seconds * fs)))
    return 20 * noise


def write_edf(
    file: Path,
    signals: Sequence[np.ndarray],
    *,
    labels: Sequence[bytes],
    fs: Sequence[int],
    unit: bytes = b"mV",
    replaced: dict[tuple[int, int], bytes] | None = None,
    onsets: Sequence[float] | None = None,
    kind: bytes = b"",
) -> Path:
    """Write an EDF file with records of 1 s.

    Args:
        file: The file.
        signals: Samples of each signal, in its unit.
        labels: Name of each signal.
        fs: Samples per second of each signal.
        unit: Unit of all signals.
        replaced: Fields of the signals' header that are replaced: their number and their signal, by the bytes.
            The fields are 3 physical minimum, 4 physical maximum, 5 digital minimum, 6 digital maximum.
        onsets: Start of each record (s), written into an annotation signal.
        kind: ``EDF+C``, ``EDF+D``, or empty.
    """
    count = min(len(samples) // rate for samples, rate in zip(signals, fs, strict=True))
    limits = [f"{np.ceil(np.abs(samples).max() * 10 + 1) / 10:g}" for samples in signals]
    noted = onsets is not None
    columns: list[tuple[int, list[bytes]]] = [
        (16, [*labels, *([b"EDF Annotations"] if noted else [])]),
        (80, [b""] * (len(signals) + noted)),
        (8, [*[unit] * len(signals), *([b""] if noted else [])]),
        (8, [*(f"-{limit}".encode() for limit in limits), *([b"-1"] if noted else [])]),
        (8, [*(limit.encode() for limit in limits), *([b"1"] if noted else [])]),
        (8, [b"-32768"] * (len(signals) + noted)),
        (8, [b"32767"] * (len(signals) + noted)),
        (80, [b""] * (len(signals) + noted)),
        (8, [*(str(rate).encode() for rate in fs), *([b"16"] if noted else [])]),
        (32, [b""] * (len(signals) + noted)),
    ]
    for (field, signal), value in (replaced or {}).items():
        columns[field][1][signal] = value
    fixed = (
        b"0",
        b"X X X X",
        b"Startdate X X X X",
        b"01.01.20",
        b"00.00.00",
        str(256 * (1 + len(signals) + noted)).encode(),
    )
    widths = (8, 80, 80, 8, 8, 8)
    header = b"".join(value.ljust(width) for value, width in zip(fixed, widths, strict=True))
    header += (
        kind.ljust(44) + str(count).encode().ljust(8) + b"1".ljust(8) + str(len(signals) + noted).encode().ljust(4)
    )
    header += b"".join(value.ljust(width) for width, values in columns for value in values)
    digital = [
        np.round((samples + float(limit)) / (2 * float(limit)) * 65535 - 32768).astype("<i2")
        for samples, limit in zip(signals, limits, strict=True)
    ]
    records = [
        b"".join(
            samples[number * rate : (number + 1) * rate].tobytes() for samples, rate in zip(digital, fs, strict=True)
        )
        + (f"+{onsets[number]}\x14\x14\0".encode().ljust(32, b"\0") if onsets is not None else b"")
        for number in range(count)
    ]
    file.write_bytes(header + b"".join(records))
    return file


def write_csv(
    file: Path, columns: dict[str, Sequence[float] | np.ndarray], *, delimiter: str = ",", **fmt: str
) -> Path:
    """Write a table with names in the first line; ``fmt`` replaces the format of columns by name."""
    lines = [delimiter.join(columns)]
    formats = [fmt.get(name, "{:.5f}") for name in columns]
    lines.extend(
        delimiter.join(form.format(value) for form, value in zip(formats, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    )
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_manifest(folder: Path, *lines: str) -> Path:
    """Write ``manifest.csv`` and return the folder."""
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder
