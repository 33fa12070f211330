"""A PyTorch training loop as a `ray.tune.Trainable`: a small network that separates two spirals.

python spirals.py
"""

import math
from pathlib import Path
from typing import Any

import torch
from ConfigSpace import ConfigurationSpace, Float, Integer
from ray import tune
from torch import Tensor, nn

import emotune


def spirals(points: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return points of two spirals, and the spiral of each point."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(points) % 2
    angle = 3 * math.pi * torch.rand(points, generator=generator).sqrt()
    turn = angle + math.pi * label
    x = torch.stack([angle * turn.cos(), angle * turn.sin()], dim=1) / 10
    return x + 0.03 * torch.randn(x.shape, generator=generator), label


class Spirals(tune.Trainable):
    """Trains the network; `step` is an epoch of 20 batches."""

    def setup(self, config: dict[str, Any]) -> None:
        """Make the data, which all configurations share, and begin a configuration."""
        torch.set_num_threads(1)
        self.x, self.y = spirals(640, seed=0)
        self.x_val, self.y_val = spirals(320, seed=1)
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        """Draw the weights."""
        torch.manual_seed(0)
        width = config["width"]
        self.network = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config["lr"], weight_decay=config["decay"])

    def step(self) -> dict[str, float]:
        """Train an epoch, and return the metrics of the validation points."""
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(self.iteration))
        for rows in order.chunk(20):
            loss = nn.functional.cross_entropy(self.network(self.x[rows]), self.y[rows])
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        with torch.no_grad():
            logits = self.network(self.x_val)
        accuracy = (logits.argmax(dim=1) == self.y_val).double().mean()
        return {"loss": nn.functional.cross_entropy(logits, self.y_val).item(), "accuracy": accuracy.item()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the weights and the state of the optimiser."""
        state = {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}
        torch.save(state, Path(checkpoint_dir, "state.pt"))

    def load_checkpoint(self, checkpoint: str) -> None:
        """Read both."""
        state = torch.load(Path(checkpoint, "state.pt"))
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another configuration in this process, which keeps the data."""
        self.begin(new_config)
        return True


space = ConfigurationSpace()
space.add(
    Float("lr", (1e-4, 1e-1), log=True),
    Float("decay", (1e-6, 1e-1), log=True),
    Integer("width", (8, 128), log=True),
)

if __name__ == "__main__":
    result = emotune.search(
        Spirals,
        space=space,
        budget=emotune.Budget(1, 9, eta=3, brackets=1),
        metric="loss",
        mode="min",
        name="spirals",
        concurrency=2,
        resources={"CPU": 1},
    )
    print(result.best.values, result.best.metrics)
