"""A rehearsal learns something, so that an encoder that is lost on its way to the fine-tuning shows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emotune.data.corpora.synthetic import Synthetic, make_ecg, make_person
from emotune.data.prepare.prepare import PrepareOptions
from emotune.data.store import SegmentStore
from emotune.evaluation.crossval import cross_validation_study
from emotune.experiment import Experiment
from emotune.reproduce.corpora import find_corpora
from emotune.reproduce.published import Recipe, find_table
from emotune.reproduce.recipes import SMOKE, Scale, classification, pretraining, rehearsal_on_raw
from emotune.reproduce.stages import cells_of, execution_order
from emotune.reproduce.stores import PaperStore, preparations, prepare_rehearsal, stores_of
from emotune.training.loop import TrainState, evaluate
from tests.data.examples.emotion import amigos_subject, save_amigos
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


@pytest.fixture(scope="module")
def stores_of_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the ECG stores of a rehearsal on files of AMIGOS, whose heart rate depends on the arousal."""
    raw, folder = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("stores")
    made_up = Synthetic(seconds_per_state=27, arousal_heart_rate=60, noise=0.3)
    for number in (1, 2):
        random = np.random.default_rng(number)
        content = amigos_subject(number)
        person = make_person(random)
        for video in range(20):
            arousal = 1 if video % 2 else -1
            signal = make_ecg(person, state=(arousal, 1), settings=made_up, random=random)[0, ::2]
            columns = random.standard_normal((len(signal), 17))
            columns[:, 14:16] = signal[:, None]
            content["joined_data"][0, video] = columns
            content["labels_selfassessment"][0, video][0, :2] = 5 + 2 * arousal, 5
        save_amigos(raw / "AMIGOS", number, content)
    cells = cells_of(find_table("ecg-table-2"), scale=rehearsal_on_raw(), stores=folder)
    needed = stores_of(execution_order([cell.stage for cell in cells]), scale=rehearsal_on_raw())
    for preparation in preparations(needed, find_corpora(raw, names=["amigos"])):
        preparation.run(PrepareOptions())
    return folder


def pretrain(recipe: Recipe, stores: Path, scale: Scale) -> TrainState:
    experiment = pretraining(recipe, scale=scale, half="first", stores=stores)
    data = experiment.select(SegmentStore.open(Path(experiment.store)))
    return train_until(experiment.begin_untrained(data), data, experiment, until=experiment.epochs)


def balanced_accuracy(encoder: dict[str, torch.Tensor], recipe: Recipe, stores: Path, scale: Scale = SMOKE) -> float:
    """Fine-tune an encoder as a rehearsal does, and return its score on the test segments of a fold."""
    tuned = classification(recipe, scale=scale, target="arousal", stores=stores)
    experiment: Experiment = cross_validation_study(tuned, protocol="paper", folds=scale.folds).base.in_fold(FOLD)
    data = experiment.select(SegmentStore.open(Path(experiment.store)))
    state = experiment.begin_untrained(data)
    state.objective.encoder.load_state_dict(encoder)
    train_until(state, data, experiment, until=experiment.epochs)
    return evaluate(state.objective, data, data.fold.test, prefix="test")["test/balanced_accuracy"]


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe("eeg"), Recipe(network="convnet")], ids=["ecg", "eeg", "compared network"]
)
def test_a_rehearsal_classifies_better_than_chance_and_a_lost_encoder_shows(recipe: Recipe, stores: Path) -> None:
    encoder = pretrain(recipe, stores, SMOKE).objective.encoder.state_dict()
    assert balanced_accuracy(encoder, recipe, stores) > 0.75
    lost = {name: torch.zeros_like(weights) for name, weights in encoder.items()}
    assert balanced_accuracy(lost, recipe, stores) == pytest.approx(0.5, abs=0.1)


def test_a_rehearsal_on_files_learns_what_they_show(stores_of_files: Path) -> None:
    scale = rehearsal_on_raw()
    encoder = pretrain(Recipe(), stores_of_files, scale).objective.encoder.state_dict()
    assert balanced_accuracy(encoder, Recipe(), stores_of_files, scale) > 0.75
