"""A user's own tuner: ``python -m tests.ray.stock_tuner FOLDER RUN [--restore]``."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ConfigSpace import Categorical, ConfigurationSpace, Float
from ray import tune

from emotune.study.definition import Budget
from emotune.tune import EmotuneScheduler, EmotuneSearch

BUDGET = Budget(min=1, max=9, brackets=1)
CONCURRENCY = 2


def space() -> ConfigurationSpace:
    """Return the search space."""
    space = ConfigurationSpace(seed=0)
    space.add(Float("x", (0.0, 1.0)), Categorical("kind", ["a", "b"]))
    return space


def loss(values: dict[str, Any], epoch: int) -> float:
    """Return the loss of a configuration after an epoch."""
    return (values["x"] - 0.3) ** 2 + 0.1 * len(values["kind"]) + 1 / epoch


class Curve(tune.Trainable):
    """A made-up training, which writes a line for each epoch."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin at epoch 0."""
        self.values, self.epoch = config, 0

    def step(self) -> dict[str, float]:
        """Train an epoch."""
        self.epoch += 1
        time.sleep(0.1)
        with Path(self.values["log"]).open("a", encoding="utf-8") as file:
            file.write(f"{self.values['x']} {self.values['kind']} {self.epoch}\n")
        return {"loss": loss(self.values, self.epoch)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the number of epochs."""
        Path(checkpoint_dir, "state.json").write_text(json.dumps(self.epoch), encoding="utf-8")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Read the number of epochs."""
        self.epoch = json.loads(Path(checkpoint, "state.json").read_text(encoding="utf-8"))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial."""
        self.setup(new_config)
        return True


def main(folder: Path, *, run: str, restore: bool) -> None:
    """Run the search, or restore it."""
    ray.init(log_to_driver=False)
    constants = {"log": str(folder / "log")}
    if restore:
        tuner = tune.Tuner.restore(str(folder / "tune" / run), Curve, param_space=constants)
    else:
        search = EmotuneSearch(
            space(),
            budget=BUDGET,
            metric="loss",
            mode="min",
            name="mine",
            storage=folder / "results",
            concurrency=CONCURRENCY,
        )
        tuner = tune.Tuner(
            Curve,
            param_space=constants,
            tune_config=tune.TuneConfig(
                search_alg=search, scheduler=EmotuneScheduler(), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name=run,
                storage_path=str(folder / "tune"),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            ),
        )
    tuner.fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), run=sys.argv[2], restore="--restore" in sys.argv)
