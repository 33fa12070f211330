"""Where electrodes are on the head, and the error of a pre-training at each of them.

The head is seen from above, the nose at the top, as a circle of radius 1 through the ears and the inion. Positions are
those of the 10-20 system on a sphere, in the azimuthal equidistant projection: the radius is the angle from the vertex
(Cz) over 90 degrees.

Source: Jasper, "The ten-twenty electrode system of the International Federation", Electroencephalography and Clinical
Neurophysiology 1958. The ring Fp-F7-T7-P7-O is at 92 degrees on a sphere that fits heads, and drawn at 0.8.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from emotune.base import Settings

RING, OBLIQUE, INNER = 0.8, 0.52, 0.4
"""Radii of the outer ring, of F3, F4, P3 and P4, and of Fz, C3, C4 and Pz."""

ELECTRODES: dict[str, tuple[float, float]] = {
    "FPZ": (0, RING), "FP1": (-18, RING), "FP2": (18, RING), "F7": (-54, RING), "F8": (54, RING),
    "T7": (-90, RING), "T8": (90, RING), "P7": (-126, RING), "P8": (126, RING), "O1": (-162, RING),
    "O2": (162, RING), "OZ": (180, RING), "F3": (-39, OBLIQUE), "F4": (39, OBLIQUE), "P3": (-141, OBLIQUE),
    "P4": (141, OBLIQUE), "FZ": (0, INNER), "C3": (-90, INNER), "C4": (90, INNER), "PZ": (180, INNER), "CZ": (0, 0.0),
}  # fmt: skip
"""Angle from the nose to the right (degrees) and radius, by name in capitals."""

MIN_ELECTRODES = 4
"""Fewest electrodes of a map."""


class ElectrodeError(Settings):
    """The error at one electrode."""

    name: str
    x: float
    y: float
    """Position: right and front are positive."""
    error: float
    """Mean squared error of the hidden values; signals are standardised."""
    zero: float
    """That of predicting zero."""


class ScalpMap(Settings):
    """The errors at the electrodes of a store."""

    segments: int
    electrodes: tuple[ElectrodeError, ...]
    unknown: tuple[str, ...]
    """Channels that are not in the 10-20 system."""


def position_of(name: str) -> tuple[float, float] | None:
    """Return the position of an electrode: right and front are positive; None if it is not in the 10-20 system."""
    polar = ELECTRODES.get(name.upper())
    if polar is None:
        return None
    angle, radius = math.radians(polar[0]), polar[1]
    return round(radius * math.sin(angle), 4), round(radius * math.cos(angle), 4)


def scalp_map(
    channels: Sequence[str],
    *,
    signals: Float[np.ndarray, "segment channel time"],
    predicted: Float[np.ndarray, "segment time channel"],
    hidden: Bool[np.ndarray, "segment time"],
) -> ScalpMap | None:
    """Return the error at each electrode; None if fewer than `MIN_ELECTRODES` channels are in the 10-20 system.

    Args:
        channels: Names of the channels of the signals.
        signals: Held-out segments.
        predicted: Prediction of every sample.
        hidden: Samples that were hidden, in all channels.
    """
    if len(channels) != signals.shape[1]:
        return None  # each segment is of one channel
    electrodes = []
    for number, name in enumerate(channels):
        position = position_of(name)
        if position is None:
            continue
        truth = signals[:, number][hidden]
        error = ElectrodeError(
            name=name, x=position[0], y=position[1],
            error=float(np.mean((predicted[:, :, number][hidden] - truth) ** 2)), zero=float(np.mean(truth**2)),
        )  # fmt: skip
        electrodes.append(error)
    if len(electrodes) < MIN_ELECTRODES:
        return None
    unknown = tuple(name for name in channels if position_of(name) is None)
    return ScalpMap(segments=len(signals), electrodes=tuple(electrodes), unknown=unknown)
