"""A search of a user's trainable: ``python -m tests.ray.trainable_search STORAGE NAME``."""

import json
import os
import sys
from pathlib import Path

import emotune
from tests.ray.stock_tuner import BUDGET, CONCURRENCY, Curve, space

UNNEEDED = ("torch", "emotune.data", "emotune.models", "emotune.tasks", "emotune.experiment")
"""Modules that a search of a trainable does not need."""


class Traced(Curve):
    """A made-up training, which writes its process for each epoch, and what it has imported."""

    def step(self) -> dict[str, float]:
        """Train an epoch."""
        result = super().step()
        with Path(self.values["pids"]).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        return result | {"imported": sum(name in sys.modules for name in UNNEEDED)}


def main(storage: Path, *, name: str) -> None:
    """Run the search, or resume it, and write its result and the modules that it should not have imported."""
    result = emotune.search(
        Traced,
        space=space(),
        budget=BUDGET,
        metric="loss",
        mode="min",
        name=name,
        storage=storage,
        concurrency=CONCURRENCY,
        keep="all",
        constants={"log": str(storage / f"{name}.log"), "pids": str(storage / f"{name}.pids")},
    )
    imported = [module for module in UNNEEDED if module in sys.modules]
    content = {"evaluations": len(result.table), "loss": result.best.loss, "imported": imported}
    (storage / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    from tests.ray.trainable_search import main as importable

    importable(Path(sys.argv[1]), name=sys.argv[2])
