"""Compute the tables of trained networks that the benchmarks of the search read.

    python benchmarks/make_tables.py digits
    python benchmarks/make_tables.py ecg --recordings FOLDER --scratch FOLDER

Every configuration of a grid is trained for 27 epochs, in random order. Results are appended to a file in
the scratch folder, so that the same command resumes after an interruption. `ecg` reads a folder of
recordings as `emotune data prepare folder` does; the tables contain losses only, no part of a recording.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.problems.grids import DIGITS_MLP, ECG_TRANSFORMER, TABLES, Grid, Values, cells
from emotune.data.folds import Fold, Folds, split
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import TrainingDivergedError
from emotune.experiment import Experiment
from emotune.randomness import stream
from emotune.tasks import MaskedValues
from emotune.training.loop import TrainingData, evaluate, train_epoch

EPOCHS = 27
TRAINING_SEGMENTS = 192
VALIDATION_SEGMENTS = 128
HIDDEN_SHARE = 0.4
"""Share of the samples that is hidden, for every span."""
REFERENCE_SPAN = 8
"""Span of the validation of all configurations, in samples, so that their losses can be compared."""

Train = Callable[[Values], Iterator[float]]
"""A function that trains a configuration and yields the validation loss per epoch; it ends early on divergence."""


def train_digits(values: Values) -> Iterator[float]:
    """Train scikit-learn's perceptron on its digits, and yield the log loss on a third of them."""
    pixels, labels = load_digits(return_X_y=True)
    train_x, val_x, train_y, val_y = train_test_split(
        pixels / 16, labels, test_size=1 / 3, random_state=0, stratify=labels
    )
    network = MLPClassifier(
        hidden_layer_sizes=(values["units"],) * values["layers"],
        activation=values["activation"],
        solver=values["solver"],
        alpha=values["alpha"],
        batch_size=values["batch_size"],
        learning_rate_init=values["lr"],
        random_state=0,
    )
    for _ in range(EPOCHS):
        try:
            network.partial_fit(train_x, train_y, classes=np.arange(10))
        except ValueError:  # scikit-learn: the weights are no longer finite
            return
        predicted = network.predict_proba(val_x)
        if not np.isfinite(predicted).all():
            return
        yield float(log_loss(val_y, predicted, labels=np.arange(10)))


def train_ecg(values: Values, *, training_data: TrainingData) -> Iterator[float]:
    """Pre-train a small Transformer on masked ECG, and yield the validation loss with the reference span."""
    experiment = Experiment.model_validate(_settings(values))
    state = experiment.begin(training_data)
    reference = MaskedValues(**_task(REFERENCE_SPAN)).build(state.objective.encoder, channels=1, labels=None)
    reference.head = state.objective.head
    unvalidated = training_data.without_validation()
    for _ in range(EPOCHS):
        try:
            train_epoch(state, unvalidated, experiment.training_plan())
        except TrainingDivergedError:
            return
        yield evaluate(reference, training_data, training_data.fold.val, prefix="val")["val/loss"]


def _settings(values: Values) -> dict[str, Any]:
    width = values["width"]
    return {
        "model": {
            "channels": (8, width),
            "kernels": (9, 5),
            "layers": values["layers"],
            "heads": values["heads"],
            "feedforward": 2 * width,
            "dropout": 0.0,
            "attention_dropout": 0.0,
        },
        "task": _task(values["span"]),
        "optim": {"lr": values["lr"], "warmup_epochs": values["warmup_epochs"], "weight_decay": 1e-4},
        "epochs": EPOCHS,
        "batch_size": values["batch_size"],
    }


def _task(span: int) -> dict[str, Any]:
    chance = 1 - (1 - HIDDEN_SHARE) ** (1 / span)
    return {"kind": "masked_values", "span": span, "start_probability": chance, "head": 32}


def ecg_material(recordings: Path, *, scratch: Path) -> TrainingData:
    """Prepare segments of 2 s at 64 Hz, and select a few of each person; validation segments are of other people."""
    store = scratch / "store"
    settings = PrepareSettings(seconds=2, rate=64, band=(0.8, 30.0))
    prepare("folder", folder=recordings, store=store, settings=settings)
    opened = SegmentStore.open(store)
    fold = split(opened.index, Folds(segments=TRAINING_SEGMENTS))
    validation = stream(0, "validation").permutation(fold.val)[:VALIDATION_SEGMENTS]
    return TrainingData(opened, Fold(fold.train, np.sort(validation), fold.test), None)


def fill(grid: Grid, train: Train, *, journal: Path) -> None:
    """Train the configurations that the journal does not contain yet, and write the table when all are done."""
    todo = cells(grid)
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.touch()
    done = {row["cell"]: row for row in map(json.loads, journal.read_text().splitlines())}
    for cell in stream(0, grid.name).permutation(len(todo)).tolist():
        if cell in done:
            continue
        started = time.process_time()
        losses = list(train(todo[cell]))
        row = {"cell": cell, "losses": losses, "seconds": time.process_time() - started}
        done[cell] = row
        with journal.open("a") as file:
            file.write(json.dumps(row) + "\n")
        sys.stderr.write(f"\r{grid.name}: {len(done)} of {len(todo)}")
    _write_table(grid, rows=[done[cell] for cell in range(len(todo))])


def _write_table(grid: Grid, *, rows: list[dict[str, Any]]) -> None:
    losses = np.full((len(rows), EPOCHS), np.nan, dtype=np.float32)
    for number, row in enumerate(rows):
        losses[number, : len(row["losses"])] = np.round(row["losses"], 5)
    trained = [max(len(row["losses"]), 1) for row in rows]
    seconds = np.array([row["seconds"] for row in rows]) / trained
    np.savez_compressed(TABLES / f"{grid.name}.npz", losses=losses, seconds=seconds.astype(np.float32))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", choices=["digits", "ecg"])
    parser.add_argument("--recordings", type=Path, help="folder with a manifest.csv")
    parser.add_argument("--scratch", type=Path, default=Path("table_scratch"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.table == "digits":
        fill(DIGITS_MLP, train_digits, journal=given.scratch / "digits_mlp.jsonl")
        return
    if given.recordings is None:
        parser.error("ecg needs --recordings FOLDER")
    given.scratch.mkdir(parents=True, exist_ok=True)
    training_data = ecg_material(given.recordings, scratch=given.scratch)
    journal = given.scratch / "ecg_transformer.jsonl"
    fill(ECG_TRANSFORMER, lambda values: train_ecg(values, training_data=training_data), journal=journal)


if __name__ == "__main__":
    main()
