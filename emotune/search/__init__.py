"""The search: what to try next, and what came of it."""

from emotune.search.optimizer import Optimizer
from emotune.search.records import Evaluation

__all__ = ["Evaluation", "Optimizer"]
