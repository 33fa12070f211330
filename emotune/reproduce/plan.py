"""From a table to the runs that fill it, each once, named by everything that decides it."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from emotune.data.folds import Folds
from emotune.data.modality import FUSED_MODALITIES, MODALITIES
from emotune.data.store import ABOUT_FILE, SegmentStore, read_about
from emotune.experiment import Experiment
from emotune.reproduce.published import TARGETS, Recipe, Row, Table, Target
from emotune.reproduce.recipes import Scale, classification, fusion, pretraining

LIKE_FORWARD = 3
"""A training step costs about three times a forward pass."""

H200_SHARE = 2.76e14
"""Floating-point operations a second: 35 % of an H200's bfloat16 matrix products."""


@dataclass(frozen=True)
class Stage:
    """A run: a pre-training, the folds of a classification, or those of a fusion."""

    kind: Literal["pretraining", "folds", "fusion"]
    experiment: Experiment
    after: tuple["Stage", ...] = ()
    """What must be finished before: two encoders, or the cross-validations that are fused."""

    @property
    def name(self) -> str:
        """Name of the run: a hash of the experiment, its store and all that it builds upon."""
        store = Path(self.experiment.store).name
        content = [self.kind, store, self.experiment.digest(), *(stage.name for stage in self.after)]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        return f"{self.kind}-{digest}"


@dataclass(frozen=True)
class Cell:
    """One cross-validation of a table: a row and a target."""

    row: Row
    target: Target
    stage: Stage


@dataclass(frozen=True)
class Cost:
    """What a stage will take."""

    runs: int
    """Trainings: 1, or the number of folds."""
    epochs: int
    """Of each."""
    segments: int
    """Trained on in an epoch."""
    operations: float
    """Floating-point operations in all."""

    @property
    def gpu_hours(self) -> float:
        """Hours at 276 TFLOP/s, 35 % of an H200."""
        return self.operations / H200_SHARE / 3600


def cells(table: Table, *, scale: Scale, stores: Path) -> list[Cell]:
    """Return all cells of a table that are ours, row by row."""
    return [
        Cell(row=row, target=target, stage=stage_of(row.recipe, scale=scale, target=target, stores=stores))
        for row in table.rows
        if row.recipe is not None
        for target in TARGETS
    ]


def stage_of(recipe: Recipe, *, scale: Scale, target: Target, stores: Path) -> Stage:
    """Return the cross-validation of a recipe, with everything before it."""
    if recipe.signal == "fused":
        halves = [dataclasses.replace(recipe, signal=signal, paired=True) for signal in FUSED_MODALITIES]
        before = tuple(stage_of(half, scale=scale, target=target, stores=stores) for half in halves)
        width = sum(_last_hidden(stage.experiment) for stage in before)
        return Stage("fusion", fusion(scale=scale, target=target, store=Path(), width=width), after=before)
    experiment = on_stores(classification(recipe, scale=scale, target=target, stores=stores))
    if not recipe.pretrained:
        return Stage("folds", experiment)
    encoders = tuple(
        Stage("pretraining", on_stores(pretraining(recipe, scale=scale, half=half, stores=stores)))
        for half in ("first", "second")
    )
    return Stage("folds", experiment, after=encoders)


def on_stores(experiment: Experiment) -> Experiment:
    """Fill in the fingerprints of the stores that are there, so that other data are other runs."""
    named = {"fingerprint": experiment.store, "partner_fingerprint": experiment.partner}
    there = {name: Path(path) for name, path in named.items() if path and (Path(path) / ABOUT_FILE).is_file()}
    return experiment.model_copy(update={name: read_about(path).fingerprint for name, path in there.items()})


def _last_hidden(experiment: Experiment) -> int:
    task = experiment.task
    assert task.kind == "classify"
    return task.hidden[-1]


def pretext_stage(*, scale: Scale, stores: Path) -> Stage:
    """Return the recognition of transformations, tested on people that it has not seen."""
    recipe = Recipe(network="convnet")
    experiment = pretraining(recipe, scale=scale, half="first", stores=stores)
    folds = Folds(by="subject", count=5, index=0, validation=0.0)
    return Stage("pretraining", on_stores(experiment.model_copy(update={"folds": folds})))


def in_order(stages: Sequence[Stage]) -> list[Stage]:
    """Return all stages, each once, after those that it needs."""
    found: dict[str, Stage] = {}

    def take(stage: Stage) -> None:
        for before in stage.after:
            take(before)
        found.setdefault(stage.name, stage)

    for stage in stages:
        take(stage)
    return list(found.values())


def cost_of(stage: Stage, *, scale: Scale) -> Cost:
    """Estimate what a stage takes: three times the operations of the forward passes, heads left out."""
    experiment = stage.experiment
    runs = 1 if stage.kind == "pretraining" else scale.folds
    if stage.kind == "fusion":
        segments = round(scale.segments["labelled"] * (1 - 1 / scale.folds))
        return Cost(runs, experiment.epochs, segments, 0.0)
    modality, length = experiment.store.rsplit("-", 2)[1:]
    seconds, spec = int(length.removesuffix("s")), MODALITIES[modality]
    channels, samples = (1 if spec.separate_leads else len(spec.channels)), spec.rate * seconds
    known = _segments(experiment)
    if stage.kind == "pretraining":
        segments = known or round(scale.segments[modality] * 10 / seconds)
    else:
        everything = known or round(scale.segments["labelled"] * 10 / seconds)
        segments = round(everything * (1 - 1 / scale.folds))
    views = 7 if experiment.task.kind == "recognise_transformation" else 1
    passes = 1 if getattr(experiment.task, "frozen", False) else LIKE_FORWARD
    forward = experiment.model.flops(channels=channels, samples=samples)
    return Cost(runs, experiment.epochs, segments, forward * passes * views * segments * experiment.epochs * runs)


def _segments(experiment: Experiment) -> int | None:
    """Count the segments that a stage chooses from, if its store is there."""
    if not (Path(experiment.store) / ABOUT_FILE).is_file():
        return None
    store = SegmentStore.open(Path(experiment.store))
    if experiment.task.kind != "classify":
        return len(experiment.training_data(store).fold.train)
    labels = experiment.task.labels(store.index)
    wanted = experiment.folds.channels
    chosen = store.index["channel"].isin(wanted).to_numpy() if wanted else np.ones(len(store), dtype=bool)
    return int(np.count_nonzero(chosen & ~np.isnan(labels)))


def missing_stores(stages: Sequence[Stage]) -> Iterator[str]:
    """Name the stores that stages need and that are not there."""
    named = {path for stage in stages for path in (stage.experiment.store, stage.experiment.partner) if path}
    yield from (path for path in sorted(named - {"."}) if not (Path(path) / ABOUT_FILE).is_file())
