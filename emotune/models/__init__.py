"""The table of models: a settings class per encoder, which builds its module."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, GetJsonSchemaHandler, Tag
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from emotune.models.base import Encoder, ModelSettings
from emotune.models.convnet import ConvNet
from emotune.models.features import Features
from emotune.models.transformer import Transformer
from emotune.plugins import kind_of, settings_of_plugins

BUILT_IN: tuple[type[ModelSettings], ...] = (Transformer, ConvNet, Features)
MODELS: tuple[type[ModelSettings], ...] = (
    *BUILT_IN,
    *settings_of_plugins("emotune.models", base=ModelSettings, built_in=BUILT_IN),
)


def kind(given: Any) -> str:
    """Return the name of the model that settings or their JSON describe; without ``kind`` it is the Transformer.

    Studies and checkpoints on disk may lack ``kind``: the Transformer was the only model at first.
    """
    return given.get("kind", "transformer") if isinstance(given, dict) else getattr(given, "kind", "transformer")


class _KindsInSchema:
    """Adds to the JSON schema which ``kind`` is which model, as pydantic does for discriminators without a default."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = {kind_of(model): f"#/$defs/{model.__name__}" for model in MODELS}
        return handler(core) | {"discriminator": {"propertyName": "kind", "mapping": mapping}}


if TYPE_CHECKING:
    Model = Transformer | ConvNet | Features
else:
    Model = Annotated[
        reduce(or_, (Annotated[model, Tag(kind_of(model))] for model in MODELS)), Discriminator(kind), _KindsInSchema()
    ]

__all__ = ["MODELS", "ConvNet", "Encoder", "Features", "Model", "ModelSettings", "Transformer"]
