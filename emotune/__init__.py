"""emotune: hyperparameter search for self-supervised Transformers on physiological signals."""

import importlib
from typing import TYPE_CHECKING, Any

from emotune.api import load_encoder

if TYPE_CHECKING:
    from emotune.encoder_transformer import EncoderTransformer
    from emotune.evaluation.encoders import PretrainedEncoder

__all__ = ["EncoderTransformer", "PretrainedEncoder", "load_encoder"]

_CLASSES = {
    "EncoderTransformer": "emotune.encoder_transformer",
    "PretrainedEncoder": "emotune.evaluation.encoders",
}
"""Module of each class; it is imported when the class is used first, because torch takes seconds to import."""


def __getattr__(name: str) -> Any:
    """Import a class of `__all__`.

    Raises:
        AttributeError: There is no such name.
        SettingsError: The class needs a package that is not installed.
    """
    module = _CLASSES.get(name)
    if module is None:
        raise AttributeError(f"module 'emotune' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        from emotune.errors import SettingsError  # noqa: PLC0415 (`import emotune` is light)

        raise SettingsError(f"emotune.{name} needs scikit-learn; type pip install scikit-learn") from error
