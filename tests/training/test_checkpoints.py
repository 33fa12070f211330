"""Checkpoints: written whole or not at all; damage is detected, and the checkpoint before it is used."""

import json
import logging
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.store import SegmentStore
from emotune.errors import DamageError, StorageError, StorageRefusedError
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.storage.generations import generations
from emotune.training.checkpoints import (
    export_weights,
    is_intact,
    newest_checkpoint,
    read_state,
    read_weights,
    restore,
    save_checkpoint,
)
from emotune.training.loop import TrainState
from tests.support.training import train_until


@pytest.fixture(scope="module")
def state(store: SegmentStore) -> TrainState:
    experiment = Experiment.model_validate(
        {"model": {"channels": (2, 4), "kernels": (3, 3), "feedforward": 4}, "folds": {"segments": 8}, "epochs": 40}
    )
    training_data = experiment.training_data(store)
    return train_until(experiment.begin(training_data), training_data, experiment, until=1)


def saved(root: Path, state: TrainState) -> Path:
    return save_checkpoint(LocalStorage(root), state, about={"note": "x"})


def test_two_generations_are_kept(tmp_path: Path, state: TrainState) -> None:
    longer = TrainState(state.objective, state.optimiser, list(state.history))
    for _ in range(4):
        saved(tmp_path, longer)
        longer.history.append(longer.history[-1])
    assert generations(LocalStorage(tmp_path)) == ["epoch-000004", "epoch-000003"]
    assert newest_checkpoint(LocalStorage(tmp_path), up_to=3) == tmp_path / "epoch-000003"


@given(data=st.data())
def test_every_flipped_bit_and_every_cut_is_detected(
    tmp_path_factory: pytest.TempPathFactory, state: TrainState, data: st.DataObject
) -> None:
    folder = saved(tmp_path_factory.mktemp("run"), state)
    file = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[place:]
    before = json.loads(file.read_bytes()) if file.name == "manifest.json" else None
    file.write_bytes(content)
    try:
        harmless = before is not None and json.loads(content) == before
    except ValueError:
        harmless = False
    assert is_intact(folder) == harmless


def test_after_a_damaged_checkpoint_the_one_before_it_is_used(
    tmp_path: Path, state: TrainState, caplog: pytest.LogCaptureFixture
) -> None:
    older = saved(tmp_path, state)
    newer = saved(tmp_path, TrainState(state.objective, state.optimiser, state.history * 2))
    (newer / "weights.safetensors").write_bytes(b"short")
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(LocalStorage(tmp_path)) == older
    assert "epoch-000002 is damaged" in caplog.text
    with pytest.raises(DamageError, match="epoch-000002"):
        restore(newer, state)
    assert is_intact(saved(tmp_path, TrainState(state.objective, state.optimiser, state.history * 2)))


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path: Path, state: TrainState) -> None:
    older = saved(tmp_path, state)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"epoch-000002 could not be written: .*File too large"):
            saved(tmp_path, TrainState(state.objective, state.optimiser, state.history * 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [older]
    assert is_intact(older)


def test_a_folder_of_a_search_that_was_renamed_is_not_created_again(tmp_path: Path, state: TrainState) -> None:
    search = tmp_path / "search"
    search.mkdir()
    checkpoints = search / "configurations" / "00000"
    saved(checkpoints, state)
    search.rename(tmp_path / "renamed")
    with pytest.raises(StorageRefusedError, match=r"00000 cannot be created: .*search was renamed or deleted$"):
        saved(checkpoints, state)
    assert not search.exists()


def test_exported_weights_have_no_optimiser_state(tmp_path: Path, state: TrainState) -> None:
    export_weights(saved(tmp_path, state), to=tmp_path / "export")
    assert {file.name for file in (tmp_path / "export").iterdir()} == {
        "manifest.json",
        "state.json",
        "weights.safetensors",
    }
    assert set(read_weights(tmp_path / "export")) == set(state.objective.state_dict())
    assert read_state(tmp_path / "export")["about"] == {"note": "x"}
