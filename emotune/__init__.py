"""emotune: hyperparameter search for self-supervised Transformers on physiological signals, and for any trainable."""

import importlib
from typing import TYPE_CHECKING, Any

from emotune.api import crossval, finetune, load_encoder, predict, prepare, status, stop
from emotune.errors import EmotuneError

if TYPE_CHECKING:
    from emotune.api import search
    from emotune.encoder_transformer import EncoderTransformer
    from emotune.evaluation.encoders import PretrainedEncoder
    from emotune.result import Best, Result
    from emotune.study.definition import Budget

__all__ = [
    "Best",
    "Budget",
    "EmotuneError",
    "EncoderTransformer",
    "PretrainedEncoder",
    "Result",
    "crossval",
    "finetune",
    "load_encoder",
    "predict",
    "prepare",
    "search",
    "status",
    "stop",
]

_CLASSES = {
    "Best": "emotune.result",
    "Budget": "emotune.study.definition",
    "EncoderTransformer": "emotune.encoder_transformer",
    "PretrainedEncoder": "emotune.evaluation.encoders",
    "Result": "emotune.result",
}
"""Module of each class; it is imported when the class is used first, because some take seconds to import."""


def __getattr__(name: str) -> Any:
    """Import a class of `__all__`, or ``search``, which is a package and a function.

    Raises:
        AttributeError: There is no such name.
        SettingsError: The class needs a package that is not installed.
    """
    if name == "search":
        return importlib.import_module("emotune.search")
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
