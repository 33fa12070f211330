"""The table of encoders: one settings class each, which builds its module."""

from emotune.models.transformer import Encoder, Transformer

MODELS = (Transformer,)
Model = Transformer

__all__ = ["MODELS", "Encoder", "Model", "Transformer"]
