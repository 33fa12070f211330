"""The runs (stages) behind a table, each once, named by a hash of everything that determines its result."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from emotune.data.folds import Folds
from emotune.data.modality import FUSED_MODALITIES, MODALITIES
from emotune.data.store import ABOUT_FILE, SegmentStore, read_about
from emotune.experiment import Experiment
from emotune.reproduce.published import TARGETS, PaperRow, PaperTable, Recipe, Target
from emotune.reproduce.recipes import Scale, classification, fusion, pretraining

PASSES_PER_STEP = 3
"""StageCost of a training step in forward passes (forward, and a backward pass of twice its cost)."""

H200_FLOPS = 3.1e14
"""Throughput of the published pre-training on an H200 (floating-point operations per second), as measured with
``benchmarks/gpu.sh``: 39 % of its peak for bfloat16 matrix products."""


@dataclass(frozen=True)
class Stage:
    """A run of the program: a pre-training, or the cross-validation of a classification or of a fusion."""

    kind: Literal["pretraining", "folds", "fusion"]
    experiment: Experiment
    requires: tuple["Stage", ...] = ()
    """Stages that must be finished first: two pre-trainings, or the cross-validations that are fused."""

    @property
    def name(self) -> str:
        """Name of the run: its kind, and a hash of the experiment, its store and the required stages."""
        store = Path(self.experiment.store).name
        content = [self.kind, store, self.experiment.digest(), *(stage.name for stage in self.requires)]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        return f"{self.kind}-{digest}"


@dataclass(frozen=True)
class TableCell:
    """A cell of a paper's table: row and target, with the cross-validation that fills it."""

    row: PaperRow
    target: Target
    stage: Stage


@dataclass(frozen=True)
class StageCost:
    """The estimated cost of a stage."""

    runs: int
    """Number of trainings: 1, or the number of folds, twice that if each is repeated with shuffled labels."""
    epochs: int
    """Epochs of each training."""
    segments: int
    """Training segments per epoch."""
    operations: float
    """Floating-point operations of all trainings."""

    @property
    def gpu_hours(self) -> float:
        """Hours at `H200_FLOPS`."""
        return self.operations / H200_FLOPS / 3600


def cells_of(table: PaperTable, *, scale: Scale, stores: Path) -> list[TableCell]:
    """Return the cells of a table that have an experiment, row by row."""
    return [
        TableCell(row=row, target=target, stage=stage_of(row.recipe, scale=scale, target=target, stores=stores))
        for row in table.rows
        if row.recipe is not None
        for target in TARGETS
    ]


def stage_of(recipe: Recipe, *, scale: Scale, target: Target, stores: Path) -> Stage:
    """Return the cross-validation of a recipe, with the stages it requires."""
    if recipe.signal == "fused":
        halves = [dataclasses.replace(recipe, signal=signal, paired=True) for signal in FUSED_MODALITIES]
        before = tuple(stage_of(half, scale=scale, target=target, stores=stores) for half in halves)
        width = sum(_last_hidden(stage.experiment) for stage in before)
        return Stage("fusion", fusion(scale=scale, target=target, store=Path(), width=width), requires=before)
    experiment = on_stores(classification(recipe, scale=scale, target=target, stores=stores))
    if not recipe.pretrained:
        return Stage("folds", experiment)
    encoders = tuple(
        Stage("pretraining", on_stores(pretraining(recipe, scale=scale, half=half, stores=stores)))
        for half in ("first", "second")
    )
    return Stage("folds", experiment, requires=encoders)


def on_stores(experiment: Experiment) -> Experiment:
    """Add the fingerprints of existing stores to an experiment, so that the run's name depends on the data."""
    named = {"fingerprint": experiment.store, "partner_fingerprint": experiment.partner}
    there = {name: Path(path) for name, path in named.items() if path and (Path(path) / ABOUT_FILE).is_file()}
    return experiment.model_copy(update={name: read_about(path).fingerprint for name, path in there.items()})


def _last_hidden(experiment: Experiment) -> int:
    task = experiment.task
    assert task.kind == "classify"
    return task.hidden[-1]


def pretext_stage(*, scale: Scale, stores: Path) -> Stage:
    """Return the recognition of transformations, tested on subjects that are not in its training set."""
    recipe = Recipe(network="convnet")
    experiment = pretraining(recipe, scale=scale, half="first", stores=stores)
    folds = Folds(by="subject", count=5, index=0, validation=0.0)
    return Stage("pretraining", on_stores(experiment.model_copy(update={"folds": folds})))


def execution_order(stages: Sequence[Stage]) -> list[Stage]:
    """Return all stages and those they require, each once, in topological order."""
    ordered: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        for required in stage.requires:
            add(required)
        ordered.setdefault(stage.name, stage)

    for stage in stages:
        add(stage)
    return list(ordered.values())


def cost_of(stage: Stage, *, scale: Scale, shuffled: bool = True) -> StageCost:
    """Estimate the cost of a stage.

    ``operations = flops(forward) * passes * views * segments * epochs * runs``, without the task's head.
    ``passes`` is `PASSES_PER_STEP`, or 1 for a frozen encoder. Without the store, the number of segments is
    that of the scale.

    Args:
        stage: The stage.
        scale: Number of folds, and assumed segments of stores that do not exist.
        shuffled: Each fold of a classification is repeated with shuffled labels.
    """
    experiment = stage.experiment
    runs = {"pretraining": 1, "folds": scale.folds * (2 if shuffled else 1), "fusion": scale.folds}[stage.kind]
    if stage.kind == "fusion":
        segments = round(scale.segments["labelled"] * (1 - 1 / scale.folds))
        return StageCost(runs, experiment.epochs, segments, 0.0)
    modality, length = experiment.store.rsplit("-", 2)[1:]
    seconds, spec = int(length.removesuffix("s")), MODALITIES[modality]
    channels, samples = (1 if spec.separate_leads else len(spec.channels)), spec.rate * seconds
    available = count_segments(experiment)
    if stage.kind == "pretraining":
        segments = available or round(scale.segments[modality] * 10 / seconds)
    else:
        labelled = available or round(scale.segments["labelled"] * 10 / seconds)
        segments = round(labelled * (1 - 1 / scale.folds))
    segments = segments if scale.limit is None else min(segments, scale.limit)
    views = 7 if experiment.task.kind == "recognise_transformation" else 1
    passes = 1 if getattr(experiment.task, "frozen", False) else PASSES_PER_STEP
    forward = experiment.model.flops(channels=channels, samples=samples)
    return StageCost(runs, experiment.epochs, segments, forward * passes * views * segments * experiment.epochs * runs)


def count_segments(experiment: Experiment) -> int | None:
    """Return the number of segments of a stage; None if the store does not exist, or is without the labelled corpus."""
    if not (Path(experiment.store) / ABOUT_FILE).is_file():
        return None
    store = SegmentStore.open(Path(experiment.store))
    without = experiment.folds.without
    if without is not None and without.corpus not in {source.corpus for source in store.about.sources}:
        return None
    if experiment.task.kind != "classify":
        return len(experiment.training_data(store).fold.train)
    labels = experiment.task.labels(store.index)
    channels = experiment.folds.channels
    selected = store.index["channel"].isin(channels).to_numpy() if channels else np.ones(len(store), dtype=bool)
    return int(np.count_nonzero(selected & ~np.isnan(labels)))
