"""Features that were computed before: what frozen models made of a moment, for late fusion.

Source: Vazquez-Rodriguez et al., "Emotion Recognition with Pre-Trained Transformers Using
Multimodal Signals", ACII 2022 (hal-03897400), section 3.3: the last hidden activations of the ECG
and the EEG classifier, both frozen, side by side.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from emotune.data.folds import Fold
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.models.base import Encoder, ModelSettings

TRAINED_ON = "trained_on"
"""Column of a feature store's index: a digit per fold, 1 if one of its models was trained on the moment."""


def fold_name(fold: int) -> str:
    """Return the name of a fold's features among the channels of a feature store."""
    return f"fold {fold}"


class Features(ModelSettings):
    """The features of a store that `emotune fuse` has made, as they are; nothing is trained."""

    kind: Literal["features"] = "features"

    fold: int = Field(default=0, ge=0)
    """Whose models' features: those of the fold that is tested, ``folds.index``."""

    width: int = Field(default=576, ge=1)
    """Features of a moment: the last hidden units of both models."""

    def flops(self, *, channels: int, samples: int) -> float:
        """Return one operation per feature: handing them over costs the same in all configurations."""
        del channels
        return float(samples)

    def build(self, *, channels: int) -> "FeaturesEncoder":
        """Make the encoder for features of so many folds."""
        return FeaturesEncoder(self, channels=channels)


class FeaturesEncoder(Encoder):
    """Picks a fold's features; it has no parameters.

    Raises:
        SettingsError: There are no features of this fold.
    """

    def __init__(self, settings: Features, *, channels: int) -> None:
        super().__init__()
        if settings.fold >= channels:
            raise SettingsError(f"model.fold: {settings.fold} was given, but there are features of {channels} folds")
        self.channels = channels
        self.width = settings.width
        self.fold = settings.fold

    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return the fold's features."""
        return signals[:, self.fold]


def check_features(model: ModelSettings, *, store: SegmentStore, fold: Fold, number: int | None) -> None:
    """Refuse features with another encoder, and features of a model that has seen what it is measured on.

    Args:
        model: The settings of the encoder.
        store: Where the segments or features are.
        fold: Who trains, validates and tests.
        number: Which fold that is.

    Raises:
        SettingsError: Model and store do not belong together, or the fold is not the one of the features.
    """
    if not isinstance(model, Features):
        if store.holds_features:
            raise SettingsError(f"{store.path} holds features; it needs model.kind: features")
        return
    if not store.holds_features:
        raise SettingsError(
            f"model.kind: features needs a store of features, as `emotune fuse` makes; not {store.path}"
        )
    if model.width != store.about.width:
        raise SettingsError(
            f"model.width: {model.width} was given, but {store.path} has {store.about.width} features per moment; "
            f"set model.width to {store.about.width}"
        )
    if number is None or model.fold != number or number >= len(store.channels):
        raise SettingsError(
            f"model.fold: {model.fold} and folds.index: {number} were given; both must be the same, and there are "
            f"features of {', '.join(store.channels)}"
        )
    seen = store.index[TRAINED_ON].str[number].to_numpy() == "1"
    _check_unseen(seen, rows=fold.test, what="test")
    _check_unseen(seen, rows=fold.val, what="validation")


def _check_unseen(seen: np.ndarray, *, rows: np.ndarray, what: str) -> None:
    if seen[rows].any():
        raise SettingsError(
            f"the models whose features these are were trained on {seen[rows].sum()} of {len(rows)} {what} moments; "
            "give the same folds (by, count, seed, validation) as they had"
        )
