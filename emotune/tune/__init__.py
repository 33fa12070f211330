"""The search of emotune inside a ``ray.tune.Tuner`` of your own: `EmotuneSearch` and `EmotuneScheduler`."""

from emotune.tune.scheduler import EmotuneScheduler
from emotune.tune.searcher import EmotuneSearch

__all__ = ["EmotuneScheduler", "EmotuneSearch"]
