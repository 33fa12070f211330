"""A pre-trained encoder as a transformer of scikit-learn: segments in, embeddings out."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from emotune.api import load_encoder
from emotune.evaluation.encoders import PretrainedEncoder
from emotune.evaluation.mne_signals import is_mne, recordings_of_mne


class EncoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Embeddings of segments by a pre-trained encoder, for pipelines of scikit-learn.

    The encoder is not trained: `fit` loads it. A row of the output is the embedding of a segment, of shape (width,).

    Args:
        encoder: Name of a search, a checkpoint folder, a model folder, or a loaded `PretrainedEncoder`.
        storage: Folder of the searches, as for `emotune.load_encoder`.
        fs: Sampling rate (Hz) of raw recordings, which are prepared one by one, each standardised by itself; the
            output is the mean embedding of a recording's segments. None: the rows are prepared segments, as in a store.
        other_lengths: Accept prepared segments of another length than those of the training.

    Attributes:
        encoder_: The loaded encoder.
        n_features_in_: Number of values of a row, channels times samples.

    Raises:
        ValueError: The input is not an array (segment, channel, time), a matrix with a segment per row, or an
            `mne.Epochs`; a value is not finite; or the length of a segment is not that of the training.
    """

    def __init__(
        self,
        encoder: Any = "",
        *,
        storage: Any = None,
        fs: Any = None,
        other_lengths: Any = False,
    ) -> None:
        # scikit-learn requires that any value is accepted here; `fit` checks them
        self.encoder = encoder
        self.storage = storage
        self.fs = fs
        self.other_lengths = other_lengths

    def __sklearn_tags__(self) -> Tags:
        """Return the tags of scikit-learn: embeddings are float32, whatever the type of the input."""
        tags = super().__sklearn_tags__()
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> "EncoderTransformer":  # noqa: N803 (scikit-learn's name)
        """Load the encoder and check the segments.

        Args:
            X: Segments, as `transform` takes them.
            y: Not used.
        """
        del y
        loaded = self.encoder
        encoder = loaded if isinstance(loaded, PretrainedEncoder) else load_encoder(loaded, storage=self.storage)
        if not is_mne(X):
            self._checked(X, encoder=encoder, reset=True)
        self.encoder_ = encoder
        self._n_features_out = encoder.encoder.width
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803 (scikit-learn's name)
        """Return the embedding of each segment, of shape (segment, width).

        Args:
            X: Segments: an array (segment, channel, time), a matrix with a flattened segment per row, or an
                `mne.Epochs`, whose epochs are prepared as raw recordings.
        """
        check_is_fitted(self, "encoder_")
        encoder = self.encoder_
        if is_mne(X):
            modality = encoder.preparation.modality
            epochs = recordings_of_mne(X, channels=encoder.channels, modality=modality)
            return np.stack([encoder.embed(epoch.signal, epoch.fs).mean(axis=0) for epoch in epochs])
        segments = self._checked(X, encoder=encoder, reset=False)
        if self.fs is not None:
            return np.stack([encoder.embed(segment, self.fs).mean(axis=0) for segment in segments])
        return encoder.embed_segments(segments.astype(np.float32, copy=False))

    def _checked(self, segments: Any, *, encoder: PretrainedEncoder, reset: bool) -> np.ndarray:
        """Return segments as an array (segment, channel, time)."""
        channels, samples = len(encoder.channels), encoder.preparation.samples
        shape = np.shape(segments) if hasattr(segments, "ndim") else ()
        if len(shape) == 3:
            if shape[1] != channels:
                raise ValueError(f"X has {shape[1]} channels, expected {channels} ({', '.join(encoder.channels)})")
            segments = np.asarray(segments).reshape(shape[0], -1)
        rows = np.asarray(validate_data(self, segments, dtype=[np.float64, np.float32], reset=reset))
        count = rows.shape[1]
        if count % channels or (count != channels * samples and not self.other_lengths and self.fs is None):
            raise ValueError(
                f"X has {count} values per segment, expected {channels * samples} ({channels} x {samples}); prepare "
                "the segments with `emotune data prepare`, give fs for raw recordings, or other_lengths=True"
            )
        return rows.reshape(len(rows), channels, -1)
