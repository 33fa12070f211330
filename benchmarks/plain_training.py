"""The reference of an experiment: the same network, weights and segments, in a plain training loop."""

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

GLIBC_MMAP_THRESHOLD_BYTES = 32 * 2**20
"""Size from which glibc returns freed memory to the system immediately: the maximum of its dynamic threshold."""


def reference_for(
    experiment: Experiment, state: TrainState, training_data: TrainingData, *, device: torch.device
) -> ReferenceTraining:
    """Return the plain training of the same network, from the same weights, on the same segments."""
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
    """Train the reference for an epoch, with torch's default arithmetic."""
    with as_it_comes():
        return plain.epoch()


@contextlib.contextmanager
def as_it_comes() -> Iterator[None]:
    """Restore the defaults of torch and the C library, which the fast path has changed in this process.

    Float32 is then multiplied in float32, and large blocks of memory are returned to the system when they are freed.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    _set_thresholds(mapped=GLIBC_MMAP_THRESHOLD_BYTES, trim=2 * GLIBC_MMAP_THRESHOLD_BYTES)
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
