"""The functions that ``import emotune`` offers. Each imports heavy packages, such as torch, only when it is called.

They take the options of the commands of the same name, and call the same functions: a search that was begun on the
command line can be resumed from Python, and the other way round. Mistakes raise `emotune.EmotuneError`.
"""

from emotune.api.experiments import crossval, finetune, load_encoder, predict, prepare
from emotune.api.searches import search, status, stop

__all__ = ["crossval", "finetune", "load_encoder", "predict", "prepare", "search", "status", "stop"]
