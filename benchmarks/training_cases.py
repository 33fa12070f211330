"""The trainings of the benchmarks: the papers' networks and tasks, on synthetic signals of the same sizes."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from emotune.data.folds import Fold
from emotune.data.store import About, FileRecord, SegmentStore
from emotune.experiment import Experiment
from emotune.models import Transformer
from emotune.tasks import MaskedValues
from emotune.training.loop import TrainingData

RATE = 128
"""Samples per second, as published."""

CHANNELS = {"ecg": 1, "eeg": 10}
HEADS: dict[str, dict[str, Any]] = {"ecg": {}, "eeg": {"hidden": (64,), "dropout": 0.6}}
"""The published classifiers."""

SIZES: dict[str, dict[str, Any]] = {
    "published": {},
    "small": {"channels": (16, 32, 64), "kernels": (33, 17, 9), "feedforward": 128},
}
"""``small`` is the network of the study ``laptop_pretrain``."""

READ_SHARE = 0.478
"""Share of the samples that is hidden; the head is computed for these rows."""


@dataclass(frozen=True)
class Case:
    """One cell of the table."""

    modality: Literal["ecg", "eeg"] = "ecg"
    seconds: int = 10
    task: Literal["pretrain", "finetune"] = "pretrain"
    size: Literal["published", "small"] = "published"
    attention_dropout: float = 0.1

    @property
    def name(self) -> str:
        """Name of the cell, for example ``ecg-10-pretrain-published-0.1``."""
        return f"{self.modality}-{self.seconds}-{self.task}-{self.size}-{self.attention_dropout:g}"

    @property
    def channels(self) -> int:
        """Channels of a segment."""
        return CHANNELS[self.modality]

    @property
    def samples(self) -> int:
        """Samples of a segment."""
        return self.seconds * RATE

    def experiment(self, *, batch_size: int, **settings: Any) -> Experiment:
        """Return the experiment of the cell, with a constant learning rate.

        Args:
            batch_size: Segments per step.
            settings: Further settings of `Experiment`.
        """
        model = {**SIZES[self.size], "attention_dropout": self.attention_dropout}
        task = {"kind": "classify", **HEADS[self.modality]} if self.task == "finetune" else {"kind": "masked_values"}
        optim = {"lr": 1e-4, "schedule": "none", "warmup_epochs": 0}
        content = {"model": model, "task": task, "optim": optim, "batch_size": batch_size, "epochs": 10_000}
        return Experiment.model_validate(content | settings)

    def flops(self) -> float:
        """Return the floating-point operations of training on a segment once, for the plain network.

        They are three times those of a forward pass: of the encoder over all rows, of the head over the rows that are
        read. The first convolution counts twice only, because the gradient of the signals is not needed.
        """
        model = self.experiment(batch_size=1).model
        assert isinstance(model, Transformer)
        first = 2 * self.samples * self.channels * model.channels[0] * model.kernels[0]
        forward = model.flops(channels=self.channels, samples=self.samples) + self._head_flops(model)
        return 3 * forward - first

    def _head_flops(self, model: Transformer) -> float:
        task = self.experiment(batch_size=1).task
        if isinstance(task, MaskedValues):
            rows = READ_SHARE * self.samples
            return 2 * rows * (model.width * task.head + task.head * self.channels)
        sizes = [model.width, *getattr(task, "hidden", ()), 1]
        return sum(2 * before * after for before, after in itertools.pairwise(sizes))


def cases(*, quick: bool = False) -> Iterator[Case]:
    """Yield all cells, or the four most important ones."""
    if quick:
        yield from (Case(attention_dropout=share) for share in (0.1, 0.0))
        yield Case(task="finetune")
        yield Case(size="small")
        return
    for modality, seconds, size, task, share in itertools.product(
        ("ecg", "eeg"), (10, 20, 40), ("published", "small"), ("pretrain", "finetune"), (0.1, 0.0)
    ):
        yield Case(modality=modality, seconds=seconds, size=size, task=task, attention_dropout=share)


def synthetic_data(case: Case, *, segments: int) -> TrainingData:
    """Return segments of synthetic heartbeats or waves in memory, all for training.

    Labels are alternately low and high.
    """
    signals = synthetic_signals(segments, channels=case.channels, samples=case.samples)
    rows = np.arange(segments)
    no_rows = rows[:0]
    labels = (rows % 2).astype(float) if case.task == "finetune" else None
    index = pd.DataFrame({"subject": rows % 10, "start": 0.0})
    return TrainingData(
        store=_store(case, signals=signals, index=index), fold=Fold(rows, no_rows, no_rows), labels=labels
    )


def synthetic_signals(segments: int, *, channels: int, samples: int) -> np.ndarray:
    """Return standardised signals: a spike and a wave per beat, 50 to 100 beats a minute, and some noise."""
    random = np.random.default_rng(0)
    rates = random.uniform(50, 100, size=(segments, 1, 1)) / 60 / RATE
    shifts = random.uniform(size=(segments, channels, 1))
    phase = (np.arange(samples) * rates + shifts) % 1
    beats = np.exp(-(((phase - 0.3) / 0.02) ** 2)) + 0.3 * np.exp(-(((phase - 0.6) / 0.06) ** 2))
    signals = beats + 0.05 * random.standard_normal(beats.shape)
    signals -= signals.mean(axis=2, keepdims=True)
    return (signals / signals.std(axis=2, keepdims=True)).astype(np.float32)


def _store(case: Case, *, signals: np.ndarray, index: pd.DataFrame) -> SegmentStore:
    about = About(
        modality=case.modality,
        rate=RATE,
        seconds=float(case.seconds),
        channels=tuple(f"{case.modality}{number}" for number in range(case.channels)),
        settings={},
        segments=len(signals),
        sources=(),
        software={},
        files={"signal.npy": FileRecord(size=signals.nbytes, sha256="")},
        fingerprint="made up",
    )
    return SegmentStore(path=Path(), signal=signals, index=index, about=about)
