"""Models that propose configurations from results.

A new model is one module here with a subclass of `emotune.search.models.base.Model`, and one line in `MODELS`.
Other packages add theirs as plug-ins, in the group ``emotune.searchers``.
"""

import importlib

from emotune.plugins import load_plugin_class
from emotune.search.models.base import Model

MODELS: dict[str, str] = {
    "gain": "gain:GainModel",
    "rungs": "acquisition:RungsModel",
    "hpbandster": "hpbandster:HpBandSterModel",
}
"""Module and class by name, the default first. A module is imported when its model is used."""


def model_class(name: str) -> type[Model]:
    """Import and return the class of a model in `MODELS`, or of a plug-in.

    Raises:
        SettingsError: The plug-in cannot be imported.
    """
    if name not in MODELS:
        return load_plugin_class("emotune.searchers", name, base=Model)
    module, attribute = MODELS[name].split(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
