"""The reference of an experiment: the same network from the same weights on the same segments, trained plainly."""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from benchmarks.reference_model import ReferenceTraining, Segments, build_reference
from emotune.experiment import Experiment
from emotune.models import Transformer
from emotune.tasks import Classify, MaskedValues
from emotune.training.execution import keep_memory
from emotune.training.loop import TrainingData, TrainState

GLIBC_MAPPED = 32 * 2**20
"""From this size on glibc gives memory back at once, when its own threshold has grown to its highest."""


def reference_for(
    experiment: Experiment, state: TrainState, training_data: TrainingData, *, device: torch.device
) -> ReferenceTraining:
    """Make the plain training of the same network, from the same weights, on the same segments."""
    task, model = experiment.task, experiment.model
    assert isinstance(task, MaskedValues | Classify)
    assert isinstance(model, Transformer)
    signals = training_data.store.signal[training_data.fold.train]
    weights = state.objective.state_dict()
    network = build_reference(task, model, channels=signals.shape[1], weights=weights).to(device)
    optim = experiment.optim
    optimiser = torch.optim.Adam(network.parameters(), lr=optim.lr, weight_decay=optim.weight_decay)
    segments = Segments(signals, labels=training_data.labels, task=task)
    loader = DataLoader(segments, batch_size=experiment.batch_size, shuffle=True)
    return ReferenceTraining(network, optimiser, loader, device)


def plain_epoch(plain: ReferenceTraining) -> float:
    """Train the reference for an epoch, with torch's own settings of arithmetic."""
    with as_it_comes():
        return plain.epoch()


@contextlib.contextmanager
def as_it_comes() -> Iterator[None]:
    """Compute as torch and the C library do by themselves, and not as the fast path has told them to in this process.

    So float32 is multiplied in float32, and large pieces of memory go back to the system when they are freed.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    _set_thresholds(mapped=GLIBC_MAPPED, trim=2 * GLIBC_MAPPED)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        keep_memory.cache_clear()


def _set_thresholds(*, mapped: int, trim: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(-1, trim)
        library.mallopt(-3, mapped)
