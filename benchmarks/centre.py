"""A linear classifier on a frozen encoder of ECG with and without ``task.centre: person``: rest and mental arithmetic.

For each seed an encoder is pre-trained on people of other data sets, as in `benchmarks.evidence`. A linear classifier
on it (``--adapt linear --set task.aggregate=average``) is trained in folds by person, once with ``centre: none`` and
once with ``centre: person``.

    python -m benchmarks.centre RECORDINGS --out results/evidence --seeds 3 --folds 6

RECORDINGS and ``--out`` are those of `benchmarks.evidence`. What is finished is kept, and an interrupted run resumes.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click
import numpy as np
import torch

from benchmarks.evidence import Plan
from benchmarks.evidence_scores import Variant, cell, person_scores
from benchmarks.markdown import markdown
from benchmarks.real_recordings import (
    LABELS,
    MODEL,
    logits_of_folds,
    make_corpora,
    open_store,
    preparation,
    pretraining,
    shared_rows,
    train,
)
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.training.checkpoints import newest_checkpoint

Centre = Literal["none", "person"]
CENTRES: tuple[Centre, ...] = ("none", "person")


def linear_probe(store: SegmentStore, *, centre: Centre, folds: int, epochs: int, seed: int) -> Experiment:
    """Return the training of a linear classifier on a frozen encoder, of the first fold by person."""
    task = {"kind": "classify", **LABELS, "hidden": [], "frozen": True, "aggregate": "average", "centre": centre}
    return Experiment.model_validate(
        {
            "store": str(store.path),
            "model": MODEL,
            "task": task,
            "optim": {"lr": 1e-2, "warmup_epochs": 1, "weight_decay": 1e-4},
            "folds": {"count": folds, "index": 0, "validation": 0},
            "epochs": epochs,
            "batch_size": 8,
            "seed": seed,
        }
    )


def scores_of(store: SegmentStore, *, centre: Centre, plan: Plan, epochs: int, encoders: dict[int, Path]) -> np.ndarray:
    """Return the macro F1 of each person with both labels (column) by seed (row).

    Args:
        store: The labelled store.
        centre: The setting ``task.centre``.
        plan: Folds, and the folder of the results.
        epochs: Epochs of a classifier.
        encoders: Checkpoint of the pre-trained encoder by seed.
    """
    arrays = []
    for seed, encoder in encoders.items():
        experiment = linear_probe(store, centre=centre, folds=plan.folds, epochs=epochs, seed=seed)
        folder = plan.out / "probes" / f"{plan.encoder('ecg', seed=seed)}-{centre}-{epochs}"
        arrays.append(logits_of_folds(experiment, store, folder=folder, encoder=encoder)[:, None])
    rows = shared_rows({"ecg": store})["ecg"]
    variant = Variant(centre, [logits[rows] for logits in arrays], context=False, centred=False, fitted=True)
    return person_scores(variant, index=store.index.iloc[rows].reset_index(drop=True))


def encoders_of(plan: Plan) -> Iterator[tuple[int, Path]]:
    """Yield each seed with the checkpoint of its encoder, pre-trained unless it was."""
    others = open_store(plan.out, "others", settings=preparation("ecg"))
    for seed in range(plan.seeds):
        folder = plan.out / "encoders" / plan.encoder("ecg", seed=seed)
        experiment = pretraining(others, task=plan.task, seed=seed, epochs=plan.epochs)
        train(experiment, others, folder=folder)
        checkpoint = newest_checkpoint(LocalStorage(folder))
        assert checkpoint is not None
        yield seed, checkpoint


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/evidence"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(out=given.out.absolute(), seeds=given.seeds, folds=given.folds)
    make_corpora(given.recordings, out=plan.out)
    store = open_store(plan.out, "labelled", settings=preparation("ecg"))
    encoders = dict(encoders_of(plan))
    scores = {
        centre: scores_of(store, centre=centre, plan=plan, epochs=given.epochs, encoders=encoders) for centre in CENTRES
    }
    rows = [[f"centre: {centre}", cell(values)] for centre, values in scores.items()]
    rows += [
        [f"centre: {second} minus centre: {first}", cell(scores[second] - scores[first], signed=True)]
        for first, second in itertools.pairwise(CENTRES)
    ]
    click.echo(markdown(("linear classifier on the frozen encoder", "macro F1"), rows))


if __name__ == "__main__":
    main()
