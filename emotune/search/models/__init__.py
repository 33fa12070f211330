"""Models that propose configurations from results.

A new model is one module here with a subclass of `emotune.search.models.base.Model`, and one line in `MODELS`.
"""

import importlib

from emotune.search.models.base import Model

MODELS: dict[str, str] = {
    "rungs": "acquisition:RungsModel",
    "gain": "gain:GainModel",
    "hpbandster": "hpbandster:HpBandSterModel",
}
"""Module and class by name, the default first. A module is imported when its model is used."""


def model_class(name: str) -> type[Model]:
    """Import and return the class of a model in `MODELS`."""
    module, attribute = MODELS[name].split(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
