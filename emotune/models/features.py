"""Features computed beforehand by frozen models, for late fusion of ECG and EEG.

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
"""Column of a feature store's index: a digit per fold, 1 if a model of the fold was trained on the moment."""


def fold_name(fold: int) -> str:
    """Return the name of the channel of a feature store that holds a fold's features."""
    return f"fold {fold}"


class Features(ModelSettings):
    """The features in a store that `emotune fuse` has written, unchanged; nothing is trained."""

    kind: Literal["features"] = "features"

    fold: int = Field(default=0, ge=0)
    """Fold whose models computed the features; must equal ``folds.index``, the fold that is tested."""

    width: int = Field(default=576, ge=1)
    """Number of features of a moment: the last hidden units of both models together."""

    def flops(self, *, channels: int, samples: int) -> float:
        """Return one operation per feature, so that all configurations cost the same."""
        del channels
        return float(samples)

    def build(self, *, channels: int) -> "FeaturesEncoder":
        """Return an encoder for the features of this number of folds."""
        return FeaturesEncoder(self, channels=channels)


class FeaturesEncoder(Encoder):
    """Selection of a fold's features; no parameters.

    Raises:
        SettingsError: The store has no features of this fold.
    """

    def __init__(self, settings: Features, *, channels: int) -> None:
        super().__init__()
        if settings.fold >= channels:
            raise SettingsError(
                f"model.fold: {settings.fold} was given, but the store has features of {channels} folds, 0 to "
                f"{channels - 1}"
            )
        self.channels = channels
        self.width = settings.width
        self.fold = settings.fold

    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return the fold's features: of a feature store, a channel is a fold and a sample is a feature."""
        return signals[:, self.fold]


def check_features(model: ModelSettings, *, store: SegmentStore, fold: Fold, number: int | None) -> None:
    """Check that model and store belong together and that no feature model was trained on what it is measured on.

    Args:
        model: The settings of the encoder.
        store: The store of segments or features.
        fold: The segments that train, validate and test.
        number: Index of that fold.

    Raises:
        SettingsError: Only one of model and store is of features, the features are of another width or fold, or
            their models were trained on validation or test moments.
    """
    if not isinstance(model, Features):
        if store.holds_features:
            raise SettingsError(f"{store.path} holds features, not segments; it needs model.kind: features")
        return
    if not store.holds_features:
        raise SettingsError(
            f"model.kind: features was given, but {store.path} holds segments; give a store that `emotune fuse` wrote"
        )
    if model.width != store.about.width:
        raise SettingsError(
            f"model.width: {model.width} was given, but {store.path} has {store.about.width} features per moment; "
            f"set model.width to {store.about.width}"
        )
    if number is None or model.fold != number or number >= len(store.channels):
        raise SettingsError(
            f"model.fold: {model.fold} and folds.index: {number} were given; give the same number for both; "
            f"the store has features of {', '.join(store.channels)}"
        )
    trained_on = store.index[TRAINED_ON].str[number].to_numpy() == "1"
    _check_held_out(trained_on, rows=fold.test, part="test")
    _check_held_out(trained_on, rows=fold.val, part="validation")


def _check_held_out(trained_on: np.ndarray, *, rows: np.ndarray, part: str) -> None:
    if trained_on[rows].any():
        raise SettingsError(
            f"the models that computed these features were trained on {trained_on[rows].sum()} of {len(rows)} {part} "
            "moments; give the same folds (by, count, seed, validation) as in their training"
        )
