"""emotune: hyperparameter search for self-supervised Transformers on physiological signals."""

from emotune.api import load_encoder

__all__ = ["load_encoder"]
