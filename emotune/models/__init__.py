"""The table of encoders: one settings class each, which builds its module."""

from typing import Annotated, Any

from pydantic import Discriminator, GetJsonSchemaHandler, Tag
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from emotune.models.base import Encoder, ModelSettings
from emotune.models.convnet import ConvNet
from emotune.models.features import Features
from emotune.models.transformer import Transformer

MODELS: tuple[type[ModelSettings], ...] = (Transformer, ConvNet, Features)


def kind(given: Any) -> str:
    """Return which model is meant: the Transformer, unless another one is named."""
    return given.get("kind", "transformer") if isinstance(given, dict) else getattr(given, "kind", "transformer")


class _KindsInSchema:
    """Notes in the schema which ``kind`` is which model, as pydantic does where the kind must be given."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        mapping = {model.model_fields["kind"].default: f"#/$defs/{model.__name__}" for model in MODELS}
        return handler(core) | {"discriminator": {"propertyName": "kind", "mapping": mapping}}


Model = Annotated[
    Annotated[Transformer, Tag("transformer")]
    | Annotated[ConvNet, Tag("convnet")]
    | Annotated[Features, Tag("features")],
    Discriminator(kind),
    _KindsInSchema(),
]

__all__ = ["MODELS", "ConvNet", "Encoder", "Features", "Model", "ModelSettings", "Transformer"]
