"""The reference of an experiment: the same network from the same weights on the same segments, trained plainly."""

import contextlib
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from benchmarks.reference_model import ReferenceTraining, Segments, build_reference
from emotune.experiment import Experiment
from emotune.models import Transformer
from emotune.tasks import Classify, MaskedValues
from emotune.training.loop import Material, TrainState


def reference_for(
    experiment: Experiment, state: TrainState, material: Material, *, device: torch.device
) -> ReferenceTraining:
    """Make the plain training of the same network, from the same weights, on the same segments."""
    task, model = experiment.task, experiment.model
    assert isinstance(task, MaskedValues | Classify)
    assert isinstance(model, Transformer)
    signals = material.store.signal[material.fold.train]
    weights = state.objective.state_dict()
    network = build_reference(task, model, channels=signals.shape[1], weights=weights).to(device)
    optim = experiment.optim
    optimiser = torch.optim.Adam(network.parameters(), lr=optim.lr, weight_decay=optim.weight_decay)
    segments = Segments(signals, labels=material.labels, task=task)
    loader = DataLoader(segments, batch_size=experiment.batch_size, shuffle=True)
    return ReferenceTraining(network, optimiser, loader, device)


def plain_epoch(plain: ReferenceTraining) -> float:
    """Train the reference for an epoch, with torch's own settings of arithmetic."""
    with plain_arithmetic():
        return plain.epoch()


@contextlib.contextmanager
def plain_arithmetic() -> Iterator[None]:
    """Multiply float32 in float32, as torch does unless it is told otherwise."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
