"""Several workers compute what a single worker computes, also when their number changes during the run."""

from collections import Counter
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, multiprocessing

from emotune.data.batches import Batch
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.tasks.base import Objective
from emotune.training.checkpoints import newest_checkpoint, read_state, restore, save_checkpoint
from emotune.training.loop import train_epoch
from emotune.training.workers import WorkerGroup, joined
from tests.training.conftest import tiny_experiment

TASKS = {
    "masked values": {"kind": "masked_values", "head": 8, "probe": {"target": "arousal"}},
    "classify": {"kind": "classify", "hidden": (8,), "dropout": 0.2},
    "transformations": {"kind": "recognise_transformation", "hidden": 8, "dropout": 0.2},
    "contrastive": {"kind": "contrastive", "group": 4, "projection": 8},
}

forkserver.set_forkserver_preload(
    [__name__, "torch.distributed", "torch._dynamo"]
)  # imported once, not in every process


class Witness(torch.nn.Module):
    """Stands before an objective and writes down which segments it was shown."""

    def __init__(self, objective: Objective, file: Path) -> None:
        super().__init__()
        self.objective = objective
        self.file = file

    def forward(self, batch: Batch, *, generator: torch.Generator) -> torch.Tensor:
        with self.file.open("a") as file:
            file.writelines(f"{row}\n" for row in batch.rows.tolist())
        return self.objective(batch, generator=generator)


def work(rank: int, size: int, experiment: Experiment, root: Path, stop: tuple[int, int]) -> None:
    """Go on from the newest checkpoint to a position (epochs, steps), and save there."""
    torch.set_num_threads(1)
    if size > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{root}/meet{stop}{size}", rank=rank, world_size=size
        )
    group = joined()
    training_data = experiment.training_data(SegmentStore.open(Path(experiment.store)))
    state = experiment.begin(training_data)
    newest = newest_checkpoint(LocalStorage(root / "run"))
    if newest is not None:
        restore(newest, state)
    seen = Witness(state.objective, root / f"seen-{rank}-of-{size}")
    state.network = group.wrap(seen)
    while state.position < stop:
        train_epoch(state, training_data, experiment.training_plan(), group=group, pause=lambda: state.position >= stop)
    if rank == 0:
        save_checkpoint(LocalStorage(root / "run"), state, about={})
    if size > 1:
        state.network = None  # outliving its process group, it can wait for gloo's thread for ever (torch 2.13)
        distributed.destroy_process_group()


def together(size: int, experiment: Experiment, root: Path, *, stop: tuple[int, int]) -> None:
    root.mkdir(exist_ok=True)
    arguments = (size, experiment, root, stop)
    multiprocessing.start_processes(work, args=arguments, nprocs=size, start_method="forkserver")


def outcome(root: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    newest = newest_checkpoint(LocalStorage(root / "run"))
    assert newest is not None
    history = [report["metrics"] for report in read_state(newest)["history"]]
    return load_file(newest / "weights.safetensors"), history


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_changing_number_of_workers_gives_the_result_of_a_single_worker(
    store: SegmentStore, tmp_path: Path, task: dict
) -> None:
    """One worker; and three until the middle of the second epoch, then two."""
    model = {"channels": (4, 8), "kernels": (9, 5)}
    kind = (
        {"kind": "convnet", "dropout": 0.2}
        if task["kind"] == "recognise_transformation"
        else {"feedforward": 16, "dropout": 0.2, "attention_dropout": 0.2}
    )
    folds = {"segments": 40, "validation": 0.4}  # a probe is scored on two people
    experiment = tiny_experiment(store.path, task=task, model=model | kind, epochs=3, folds=folds)
    training_data = experiment.training_data(store)
    steps = -(-len(training_data.fold.train) // experiment.batch_size)
    together(1, experiment, tmp_path, stop=(3, 0))
    together(3, experiment, tmp_path / "many", stop=(1, steps // 2))
    together(2, experiment, tmp_path / "many", stop=(3, 0))
    (weights, history), (other_weights, other_history) = outcome(tmp_path), outcome(tmp_path / "many")
    for mine, theirs in zip(history, other_history, strict=True):
        for name in ("train/loss", "val/loss"):
            assert theirs[name] == pytest.approx(mine[name], rel=1e-5)
        assert theirs.get("probe/macro_f1") == pytest.approx(mine.get("probe/macro_f1"), abs=0.02)
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, rtol=1e-4, atol=1e-5, msg=name)
    seen = Counter(row for file in (tmp_path / "many").glob("seen-*") for row in file.read_text().split())
    assert seen == Counter({str(row): 3 for row in training_data.fold.train})


def test_more_workers_than_segments_of_a_batch_are_refused(store: SegmentStore, experiment: Experiment) -> None:
    training_data = experiment.training_data(store)
    with pytest.raises(SettingsError, match="cannot be distributed over 99 workers"):
        train_epoch(
            experiment.begin(training_data), training_data, experiment.training_plan(), group=WorkerGroup(0, 99)
        )
