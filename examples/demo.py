"""Demonstrate emotune on generated ECG: search, longer pre-training, fine-tuning with few labels, and a comparison.

``make demo`` runs it. The signals are generated. Their difficulty was chosen so that pre-training helps: many people
without labels, few people with labels. The last table shows by how much, over several draws of the labelled people,
and how far a longer training from scratch gets.

    python examples/demo.py results/demo
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch

from emotune.data.folds import Fold
from emotune.data.store import SegmentStore
from emotune.evaluation.encoders import best_checkpoint, read_network_description
from emotune.evaluation.statistics import mean_interval, paired_t_test
from emotune.experiment import Experiment, Start
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.training.loop import TrainingData, evaluate, train_epoch

DIFFICULTY = ["noise=2", "arousal_heart_rate=30"]
"""Settings of the generator, chosen so that a network learns high arousal from few labels after pre-training only."""

UNLABELLED_PEOPLE, OTHER_PEOPLE = 60, 40
LABELLED_PEOPLE = 4
"""People whose labels train the classifier; all others of the second store test it."""
SEGMENTS_PER_STATE = 2
"""Labelled segments of 2.5 s per person and state; a person has four states."""
DRAWS = 10
"""Draws of the labelled people, each with other initial weights."""
TEST_STRIDE = 10
"""Every tenth segment of the other people tests."""
PRETRAIN_EPOCHS = 6
FINETUNE: dict[str, Any] = {
    "task": {"kind": "classify", "target": "arousal", "hidden": [32], "dropout": 0.1},
    "optim": {"lr": 1e-3, "schedule": "linear", "warmup_epochs": 1, "weight_decay": 1e-5},
    "epochs": 10,
    "batch_size": 16,
}

KINDS: dict[str, tuple[Literal["pretrained", "scratch"], int]] = {
    "pre-trained": ("pretrained", 1),
    "from scratch": ("scratch", 1),
    "from scratch, 4 times as long": ("scratch", 4),
}
"""Rows of the last table: initial weights, and the length of the fine-tuning as a multiple of that of `FINETUNE`."""


@dataclass(frozen=True)
class Demo:
    """The demonstration in a folder."""

    folder: Path

    @property
    def pool(self) -> Path:
        """Store of the people without labels."""
        return self.folder / "unlabelled"

    @property
    def labelled(self) -> Path:
        """Store of the people with labels, and of those who test."""
        return self.folder / "labelled"

    def emotune(self, *arguments: str) -> None:
        """Print a command and run it."""
        click.secho(f"$ emotune {' '.join(arguments)}", fg="green")
        environment = os.environ | {"EMOTUNE_STORAGE": str(self.folder)}
        done = subprocess.run([sys.executable, "-m", "emotune", *arguments], env=environment, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)

    def prepare(self) -> None:
        """Generate and prepare both stores."""
        for store, people, seed in ((self.pool, UNLABELLED_PEOPLE, 1), (self.labelled, OTHER_PEOPLE, 2)):
            sets = [f"subjects={people}", f"seed={seed}", "seconds_per_state=60", *DIFFICULTY]
            options = [part for setting in sets for part in ("--set", setting)]
            self.emotune("data", "prepare", "synthetic", "--store", str(store), "--seconds", "2.5", *options)

    def search(self) -> None:
        """Search for a pre-training."""
        self.emotune("search", "smoke", "--store", str(self.pool), "--name", "demo")

    def pretrain(self) -> None:
        """Train the best configuration on more segments."""
        experiment = str(self.folder / "best.yaml")
        self.emotune("best", "demo", "--out", experiment)
        sets = ["folds.segments=2000", "folds.index=null"]
        options = [part for setting in sets for part in ("--set", setting)]
        epochs = str(PRETRAIN_EPOCHS)
        self.emotune("pretrain", experiment, "--epochs", epochs, "--name", "demo-long", *options)

    def finetune(self) -> None:
        """Fine-tune once with the commands, with and without pre-training."""
        for name, scratch in (("pretrained", []), ("scratch", ["--scratch"])):
            options = ["--encoder", "demo-long", *scratch, "--name", name, "--set", "task.target=arousal"]
            self.emotune("finetune", "examples/finetune.yaml", "--store", str(self.labelled), *options)
        self.emotune("compare", "pretrained", "scratch")

    def compare(self) -> None:
        """Print the scores with few labelled people, pre-trained and from scratch, over draws of these people."""
        checkpoint = best_checkpoint(SearchFolder.of("demo-long", storage=LocalStorage(self.folder)))
        scores = few_labels(SegmentStore.open(self.labelled), checkpoint=checkpoint)
        click.echo(f"{'macro F1 on other people':<32}mean and 95 % interval of {DRAWS} draws")
        for name, values in scores.items():
            click.echo(f"{name:<32}{mean_interval(values).text}")
        test = paired_t_test(scores["from scratch"], scores["pre-trained"])
        click.echo(f"{'difference at equal length':<32}{test.difference.text}   (paired t-test: p = {test.p:.2g})")


def few_labels(store: SegmentStore, *, checkpoint: Path) -> dict[str, list[float]]:
    """Return the macro F1 of each draw, by the initial weights.

    Args:
        store: People with labels.
        checkpoint: Checkpoint folder of the pre-trained encoder.
    """
    torch.set_num_threads(1)
    encoder = read_network_description(checkpoint).experiment.model
    scores: dict[str, list[float]] = {name: [] for name in KINDS}
    for draw in range(DRAWS):
        fold = draw_people(store, draw=draw)
        for name, (weights, times) in KINDS.items():
            start = Start(encoder=str(checkpoint), weights=weights)
            length = {"epochs": times * FINETUNE["epochs"]}
            experiment = Experiment.model_validate(FINETUNE | length | {"model": encoder, "seed": draw, "start": start})
            data = TrainingData(store=store, fold=fold, labels=experiment.task.labels(store.index))
            state = experiment.begin(data, encoder_weights=checkpoint)
            for _ in range(experiment.epochs):
                train_epoch(state, data, experiment.training_plan())
            metrics = evaluate(state.objective, data, fold.test, prefix="test", execution=state.execution)
            scores[name].append(metrics["test/macro_f1"])
        click.echo(
            f"draw {draw + 1} of {DRAWS}: " + ", ".join(f"{name} {part[-1]:.3f}" for name, part in scores.items())
        )
    return scores


def draw_people(store: SegmentStore, *, draw: int) -> Fold:
    """Return the segments of a draw: a few of some people for training, and those of all others for the test."""
    index, random = store.index, np.random.default_rng(draw)
    people = list(random.permutation(sorted(index["subject"].unique())))
    states = index[index["subject"].isin(people[:LABELLED_PEOPLE])].groupby(["subject", "session"])
    train = [random.choice(rows, SEGMENTS_PER_STATE, replace=False) for rows in states.groups.values()]
    test = np.flatnonzero(index["subject"].isin(people[LABELLED_PEOPLE:]))[::TEST_STRIDE]
    return Fold(train=np.sort(np.concatenate(train)), val=test[:0], test=test)


STEPS = (
    ("Prepare generated ECG: 60 people without labels, 40 people with ratings", "20 s", Demo.prepare),
    ("Search for a pre-training: many configurations briefly, the best ones longer", "2 min", Demo.search),
    ("Train the best configuration on more segments", "1 min", Demo.pretrain),
    ("Fine-tune its encoder, and the same network from scratch, on many labels", "30 s", Demo.finetune),
    (
        f"Repeat it with few labels: {LABELLED_PEOPLE} people, {4 * SEGMENTS_PER_STATE} segments each",
        "1 min",
        Demo.compare,
    ),
)
"""Title, usual duration on two cores, and work of each step."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the results")
    demo = Demo(parser.parse_args().folder)
    started = time.monotonic()
    for number, (title, duration, work) in enumerate(STEPS, 1):
        click.secho(f"\n[{number}/{len(STEPS)}] {title} (about {duration})", bold=True)
        if number < len(STEPS):
            click.echo(f"      next: {STEPS[number][0]}")
        work(demo)
    minutes = (time.monotonic() - started) / 60
    click.secho(f"\nDone in {minutes:.1f} minutes. What to open:", bold=True)
    demo.emotune("report", "demo")
    click.echo(f"MLflow: {Path(sys.executable).parent}/emotune ui demo --storage {demo.folder}")
    click.echo("Next: your own recordings, README.md or docs/tutorial.md")


if __name__ == "__main__":
    main()
