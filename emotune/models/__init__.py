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
from emotune.plugins import check_plugin_name, load_plugin_class, plugin_entries

BUILT_IN: tuple[type[ModelSettings], ...] = (Transformer, ConvNet, Features)


def name_of(model: type[ModelSettings]) -> str | None:
    """Return the default of the field ``kind``, the name of a model; None without that field."""
    field = model.model_fields.get("kind")
    return None if field is None else field.default


def _plugin(name: str) -> type[ModelSettings]:
    model = load_plugin_class("emotune.models", name, base=ModelSettings)
    check_plugin_name("emotune.models", name, own=name_of(model), taken=[name_of(model) or "" for model in BUILT_IN])
    return model


MODELS: tuple[type[ModelSettings], ...] = (*BUILT_IN, *map(_plugin, plugin_entries("emotune.models")))


def kind(given: Any) -> str:
    """Return the name of the model that settings or their JSON describe; without ``kind`` it is the Transformer.

    Studies and checkpoints on disk may lack ``kind``: the Transformer was the only model at first.
    """
    return given.get("kind", "transformer") if isinstance(given, dict) else getattr(given, "kind", "transformer")


class _KindsInSchema:
    """Adds to the JSON schema which ``kind`` is which model, as pydantic does for discriminators without a default."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = {name_of(model): f"#/$defs/{model.__name__}" for model in MODELS}
        return handler(core) | {"discriminator": {"propertyName": "kind", "mapping": mapping}}


if TYPE_CHECKING:
    Model = Transformer | ConvNet | Features
else:
    Model = Annotated[
        reduce(or_, (Annotated[model, Tag(name_of(model))] for model in MODELS)), Discriminator(kind), _KindsInSchema()
    ]

__all__ = ["MODELS", "ConvNet", "Encoder", "Features", "Model", "ModelSettings", "Transformer"]
