"""How much the choices matter that the papers leave open: one setting changed at a time, on real recordings.

For each seed an encoder of ECG is pre-trained on masked values of people of other data sets, with the recommended
settings and with each of `CHOICES`. Two scores are measured on the people of the labelled data set, none of whom is in
a pre-training: the masked loss, relative to that of predicting zero; and the macro F1 of rest and arithmetic. The
latter is that of a ridge classification of the frozen embeddings, tested by leaving one person out; for the choices of
the classifier, that of a fine-tuned network, tested in folds by person, with the same ridge classification of its
output. The person's median is subtracted from the features of each person.

    python -m benchmarks.sensitivity RECORDINGS --out results/sensitivity

RECORDINGS: a folder as in `benchmarks.real_recordings`. The table has the difference of each choice from the
recommended settings, of the same seeds and people, with a 95 % interval from a bootstrap over people and seeds. What is
finished is kept in ``--out``, and an interrupted run resumes.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.evidence_scores import Variant, cell, person_scores
from benchmarks.markdown import markdown
from benchmarks.real_recordings import (
    all_rows,
    classification,
    embeddings_of,
    kept_arrays,
    logits_of_folds,
    make_corpora,
    open_store,
    preparation,
    pretraining,
    shared_rows,
    train,
)
from emotune.data.folds import unit_keys
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.training.checkpoints import newest_checkpoint
from emotune.training.loop import TrainState, evaluate, measure_references

Part = Literal["preparation", "pre-training", "classifier"]


@dataclass(frozen=True)
class Choice:
    """A reading of the papers that differs from the recommended one in one setting.

    Attributes:
        reading: The reading, in words.
        part: Whether the setting is one of the store, of the pre-training or of the fine-tuned classifier.
        setting: Dotted name of the setting.
        value: Its value.
    """

    reading: str
    part: Part
    setting: str
    value: Any

    @property
    def name(self) -> str:
        """Name of the results."""
        return f"{self.part}-{self.setting}-{self.value}"


CHOICES = (
    Choice("standardised after cutting, each segment by itself", "preparation", "normalise", "segment"),
    Choice("filter of order 4 at each edge", "preparation", "order", 4),
    Choice("causal filter", "preparation", "filter", "causal"),
    Choice("no filter", "preparation", "filter", "none"),
    Choice("AdamW in place of Adam with L2", "pre-training", "optim.kind", "adamw"),
    Choice("learning rate changed once per epoch", "pre-training", "optim.interval", "epoch"),
    Choice("no dropout of attention probabilities", "pre-training", "model.attention_dropout", 0.0),
    Choice("8 masked spans in place of 9", "pre-training", "task.start_probability", 0.026),
    Choice("larger batches", "pre-training", "batch_size", 64),
    Choice("loss without class weights", "classifier", "task.class_weight", "none"),
    Choice("weights of the best validation epoch", "classifier", "keep", "best"),
    Choice("larger batches", "classifier", "batch_size", 64),
)


@dataclass(frozen=True)
class Plan:
    """What is trained, and where its results are.

    Attributes:
        out: Folder of the results.
        seeds: Number of seeds.
        epochs: Epochs of a pre-training.
        network_seeds: Number of seeds of the classifiers, not more than ``seeds``.
        network_epochs: Epochs of a classifier.
        folds: Folds by person of a classifier.
        finished: Whether nothing is trained, and readings and seeds without results are left out.
    """

    out: Path
    seeds: int
    epochs: int
    network_seeds: int
    network_epochs: int
    folds: int
    finished: bool = False

    def seeds_of(self, part: Part) -> range:
        """Return the seeds of the readings of a part."""
        return range(self.network_seeds if part == "classifier" else self.seeds)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one reading: an array with a row per seed and a column per person.

    Attributes:
        loss: Masked loss over that of predicting zero; None for a classifier.
        macro_f1: Macro F1 of the two conditions.
        runs: Number of trainings.
    """

    loss: np.ndarray | None
    macro_f1: np.ndarray
    runs: int


def prepared(choice: Choice | None) -> PrepareSettings:
    """Return the settings of the stores of a reading."""
    settings = preparation("ecg")
    if choice is None or choice.part != "preparation":
        return settings
    return PrepareSettings.model_validate({**settings.model_dump(), choice.setting: choice.value})


def encoder_of(choice: Choice | None, store: SegmentStore, *, seed: int, epochs: int) -> Experiment:
    """Return the pre-training of a reading: the papers' dropout and L2, in a network that is small."""
    experiment = pretraining(store, task="masked_values", seed=seed, epochs=epochs).with_values(
        {"model.dropout": 0.1, "model.attention_dropout": 0.1, "optim.weight_decay": 0.005, "folds.validation": 0.0}
    )
    return _with(choice, experiment, part="pre-training")


def classifier_of(choice: Choice | None, store: SegmentStore, *, seed: int, plan: Plan) -> Experiment:
    """Return the classification of a reading, which starts from the encoder of the recommended settings."""
    experiment = classification(store, folds=plan.folds, epochs=plan.network_epochs, seed=seed)
    return _with(choice, experiment.with_values({"folds.validation": 0.2}), part="classifier")


def _with(choice: Choice | None, experiment: Experiment, *, part: Part) -> Experiment:
    if choice is None or choice.part != part:
        return experiment
    return experiment.with_values({choice.setting: choice.value})


def stores_of(plan: Plan, choice: Choice | None) -> tuple[SegmentStore, SegmentStore]:
    """Return the stores of the labelled data set and of all others."""
    settings = prepared(choice)
    variant = "" if choice is None or choice.part != "preparation" else f"ecg-{choice.setting}-{choice.value}"
    labelled, others = (
        open_store(plan.out, name, settings=settings, variant=variant) for name in ("labelled", "others")
    )
    return labelled, others


def encode(plan: Plan, choice: Choice | None, *, seed: int) -> dict[str, np.ndarray]:
    """Return embeddings of all segments of the labelled store, its people, and their relative masked losses."""
    labelled, others = stores_of(plan, choice)
    experiment = encoder_of(choice, others, seed=seed, epochs=plan.epochs)
    state = train(experiment, others, folder=encoder_folder(plan, choice, seed=seed))
    people = unit_keys(labelled.index, by="subject")
    names = np.unique(people)
    losses = [relative_loss(state, experiment, labelled, np.flatnonzero(people == name)) for name in names]
    return {"embeddings": embeddings_of(state, labelled), "people": names, "losses": np.array(losses)}


def relative_loss(state: TrainState, experiment: Experiment, store: SegmentStore, rows: np.ndarray) -> float:
    """Return the masked loss of segments, divided by that of predicting zero on the same masks."""
    data = all_rows(store)
    measured = evaluate(state.objective, data, rows, prefix="held", execution=state.execution)
    return measured["held/loss"] / measure_references(experiment.task, data, rows, prefix="held")["held/loss_zero"]


def encoder_folder(plan: Plan, choice: Choice | None, *, seed: int) -> Path:
    """Return the folder of the checkpoints of an encoder."""
    name = "recommended" if choice is None or choice.part == "classifier" else choice.name
    return plan.out / "encoders" / f"{name}-{plan.epochs}-{seed}"


def network_folder(plan: Plan, choice: Choice | None, *, seed: int) -> Path:
    """Return the folder of the checkpoints of a classifier, to which the fold is added."""
    return plan.out / "networks" / f"{'recommended' if choice is None else choice.name}-{plan.network_epochs}-{seed}"


def classify(plan: Plan, choice: Choice | None, *, seed: int) -> dict[str, np.ndarray]:
    """Return the logits of all segments of the labelled store by networks that were fine-tuned without the person."""
    store, _ = stores_of(plan, None)
    encoder = newest_checkpoint(LocalStorage(encoder_folder(plan, None, seed=seed)))
    assert encoder is not None
    folder = network_folder(plan, choice, seed=seed)
    experiment = classifier_of(choice, store, seed=seed, plan=plan)
    return {"logits": logits_of_folds(experiment, store, folder=folder, encoder=encoder)}


def trained(plan: Plan, choice: Choice | None, part: Part, *, seed: int) -> dict[str, np.ndarray]:
    """Return the results of one seed of a reading, which is trained first unless they are kept.

    Args:
        plan: What is trained.
        choice: The reading; None: the recommended one.
        part: Whether the classifier is trained, or the encoder.
        seed: The seed.
    """
    compute = classify if part == "classifier" else encode
    file = arrays_file(plan, choice, part, seed=seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    return kept_arrays(file, partial(compute, plan, choice, seed=seed))


def arrays_file(plan: Plan, choice: Choice | None, part: Part, *, seed: int) -> Path:
    """Return the file of the results of one seed of a reading."""
    folder = (network_folder if part == "classifier" else encoder_folder)(plan, choice, seed=seed)
    return folder.with_name(f"{folder.name}.npz")


def scores_of(plan: Plan, choice: Choice | None, part: Part, *, rows: np.ndarray, index: pd.DataFrame) -> Scores:
    """Return the scores of a reading.

    Args:
        plan: What is trained.
        choice: The reading; None: the recommended one.
        part: Whether the classifier is trained, or the encoder.
        rows: Rows of the reading's labelled store that are classified.
        index: Index table of those rows.
    """
    results = [trained(plan, choice, part, seed=seed) for seed in finished_seeds(plan, choice, part)]
    if part == "classifier":
        features = Variant("", [result["logits"][rows, None] for result in results], context=False, centred=True)
        return Scores(None, person_scores(features, index=index), runs=len(results) * plan.folds)
    scored = np.unique(unit_keys(index, by="subject"))
    losses = np.array([result["losses"][np.isin(result["people"], scored)] for result in results])
    features = Variant("", [result["embeddings"][rows] for result in results], context=False, centred=True)
    return Scores(losses, person_scores(features, index=index), runs=len(results))


def measure(plan: Plan, choices: Sequence[Choice]) -> tuple[dict[Part, Scores], dict[Choice, Scores]]:
    """Return the scores of the recommended settings by the part of the choices that they are for, and of choices."""
    readings: list[tuple[Choice | None, Part]] = [(None, "pre-training"), (None, "classifier")]
    readings.extend((choice, choice.part) for choice in choices)
    if plan.finished:
        readings = [reading for reading in readings if finished_seeds(plan, *reading)]
    else:
        train_all(plan, readings)
    own = stores_of(plan, None)[0]
    stores = {choice: stores_of(plan, choice)[0] for choice, part in readings if part == "preparation"}
    rows = shared_rows({None: own, **stores})
    index = own.index.iloc[rows[None]].reset_index(drop=True)
    scores = {
        (choice, part): scores_of(plan, choice, part, rows=rows.get(choice, rows[None]), index=index)
        for choice, part in readings
    }
    recommended: dict[Part, Scores] = {}
    for choice, part in readings:
        if choice is None:
            recommended[part] = scores[choice, part]
    if "pre-training" in recommended:
        recommended["preparation"] = recommended["pre-training"]
    return recommended, {choice: own for (choice, _), own in scores.items() if choice is not None}


def train_all(plan: Plan, readings: Sequence[tuple[Choice | None, Part]]) -> None:
    """Train all encoders, then all classifiers; one seed of all before the next, so that a cut leaves whole seeds."""
    for classifiers in (False, True):
        for seed in range(plan.seeds):
            for choice, part in readings:
                if (part == "classifier") == classifiers and seed in plan.seeds_of(part):
                    trained(plan, choice, part, seed=seed)


def finished_seeds(plan: Plan, choice: Choice | None, part: Part) -> list[int]:
    """Return the seeds from 0 on that have results."""
    there = [arrays_file(plan, choice, part, seed=seed).exists() for seed in plan.seeds_of(part)]
    return list(range([*there, False].index(False)))


def table_rows(recommended: Mapping[Part, Scores], scores: Mapping[Choice, Scores]) -> Iterator[list[str]]:
    """Yield the rows of the table: the recommended settings, and the difference of each choice from them."""
    titles: dict[str, Part] = {"recommended, frozen encoder": "pre-training", "recommended, fine-tuned": "classifier"}
    for title, part in titles.items():
        if part in recommended:
            own = recommended[part]
            yield [title, "", "" if own.loss is None else cell(own.loss), cell(own.macro_f1), str(own.runs)]
    for choice, own in scores.items():
        before, seeds = recommended[choice.part], len(own.macro_f1)
        loss = ""
        if own.loss is not None and before.loss is not None:
            mark = " †" if choice.part == "preparation" else ""
            loss = cell(own.loss - before.loss[:seeds], signed=True) + mark
        difference = cell(own.macro_f1 - before.macro_f1[:seeds], signed=True)
        yield [choice.reading, f"`{choice.setting}: {choice.value}`", loss, difference, str(own.runs)]


def read_plan() -> tuple[Path, Plan]:
    """Read the command line: the folder of the recordings, and the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/sensitivity"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--network-seeds", type=int, help="seeds of the classifiers; default: as many as --seeds")
    parser.add_argument("--networks", type=int, default=12, help="epochs of a classifier")
    parser.add_argument("--folds", type=int, default=3, help="folds by person of a classifier")
    parser.add_argument("--finished", action="store_true", help="train nothing: the table of what is finished")
    given = parser.parse_args()
    plan = Plan(
        out=given.out.absolute(),
        seeds=given.seeds,
        epochs=given.epochs,
        network_seeds=min(given.seeds, given.network_seeds or given.seeds),
        network_epochs=given.networks,
        folds=given.folds,
        finished=given.finished,
    )
    return given.recordings, plan


def main() -> None:
    """Run the command."""
    recordings, plan = read_plan()
    torch.set_num_threads(1)
    make_corpora(recordings, out=plan.out)
    recommended, scores = measure(plan, CHOICES)
    head = ("reading", "setting", "masked loss", "macro F1", "runs")
    click.echo(markdown(head, table_rows(recommended, scores)))
    click.echo("\n† another signal is predicted than with the recommended settings")


if __name__ == "__main__":
    main()
