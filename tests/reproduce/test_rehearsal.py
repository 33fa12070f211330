"""A rehearsal learns something, so that an encoder that is lost on its way to the fine-tuning shows."""

from pathlib import Path

import pytest
import torch

from emotune.data.store import SegmentStore
from emotune.evaluation.crossval import cross_validation_study
from emotune.experiment import Experiment
from emotune.reproduce.published import Recipe
from emotune.reproduce.recipes import SMOKE, classification, pretraining
from emotune.reproduce.stores import PaperStore, prepare_rehearsal
from emotune.training.loop import TrainState, evaluate
from tests.support.training import train_until

FOLD = 0
"""A fold of the first half, which starts from the encoder that was pre-trained without the first half."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the stores of a rehearsal."""
    folder = tmp_path_factory.mktemp("rehearsal")
    names = [f"{kind}-{modality}-10s" for kind in ("synthetic", "synthetic-pool") for modality in ("ecg", "eeg")]
    prepare_rehearsal(
        [
            PaperStore(
                folder / name,
                is_pool="pool" in name,
                modality="ecg" if "ecg" in name else "eeg",
                seconds=10,
                corpora=("synthetic",),
            )
            for name in names
        ]
    )
    return folder


def pretrain(recipe: Recipe, stores: Path) -> TrainState:
    experiment = pretraining(recipe, scale=SMOKE, half="first", stores=stores)
    data = experiment.select(SegmentStore.open(Path(experiment.store)))
    return train_until(experiment.begin_untrained(data), data, experiment, until=experiment.epochs)


def balanced_accuracy(encoder: dict[str, torch.Tensor], recipe: Recipe, stores: Path) -> float:
    """Fine-tune an encoder as a rehearsal does, and return its score on the test segments of a fold."""
    tuned = classification(recipe, scale=SMOKE, target="arousal", stores=stores)
    experiment: Experiment = cross_validation_study(tuned, protocol="paper", folds=SMOKE.folds).base.in_fold(FOLD)
    data = experiment.select(SegmentStore.open(Path(experiment.store)))
    state = experiment.begin_untrained(data)
    state.objective.encoder.load_state_dict(encoder)
    train_until(state, data, experiment, until=experiment.epochs)
    return evaluate(state.objective, data, data.fold.test, prefix="test")["test/balanced_accuracy"]


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe("eeg"), Recipe(network="convnet")], ids=["ecg", "eeg", "compared network"]
)
def test_a_rehearsal_classifies_better_than_chance_and_a_lost_encoder_shows(recipe: Recipe, stores: Path) -> None:
    encoder = pretrain(recipe, stores).objective.encoder.state_dict()
    assert balanced_accuracy(encoder, recipe, stores) > 0.75
    lost = {name: torch.zeros_like(weights) for name, weights in encoder.items()}
    assert balanced_accuracy(lost, recipe, stores) == pytest.approx(0.5, abs=0.1)
