"""``emotune pretrain`` and ``finetune`` up to the start of Ray: workers, precision, and the study that is run."""

import sys
from pathlib import Path

import pytest

from emotune.cli import main
from emotune.cli.actions import single_run
from emotune.cli.actions.run import Destination
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.runtime.options import RunOptions
from emotune.study.study import Study

EXPERIMENTS = {
    "pretrain": "model: {channels: [4, 8], kernels: [9, 5], feedforward: 16}\nbatch_size: 16\nepochs: 9\n"
    "optim: {warmup_epochs: 2}\n",
    "finetune": "task: {kind: classify, target: valence}\nepochs: 9\noptim: {warmup_epochs: 2}\n",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "synthetic"
    settings = PrepareSettings(seconds=1.0)
    prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=Synthetic(subjects=6))
    return path


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    for name, text in EXPERIMENTS.items():
        (folder / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["emotune", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize("workers", ["17", "2..17"])
def test_more_workers_than_segments_in_a_batch_are_an_error(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    arguments = ["pretrain", "pretrain.yaml", "--store", str(store), "--workers", workers]
    assert call(*arguments, monkeypatch=monkeypatch, folder=tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be distributed over 17 workers; use fewer workers or a larger batch_size" in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("workers", ["0", "3..2", "many", "2.."])
def test_an_impossible_number_of_workers_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    arguments = ["pretrain", "pretrain.yaml", "--workers", workers]
    assert call(*arguments, monkeypatch=monkeypatch, folder=tmp_path) == 2
    expected = f"'{workers}' was given; expected a number of workers, or a range such as 2..8"
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
@pytest.mark.parametrize("given", [[], ["--precision", "bf16", "--workers", "2..3"]])
def test_precision_and_workers_of_the_command_line_are_those_of_the_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, given: list[str]
) -> None:
    runs: list[tuple[Study, Destination, RunOptions]] = []

    def record(study: Study, destination: Destination, *, store: SegmentStore, options: RunOptions) -> int:
        assert str(store.path) == study.base.store
        runs.append((study, destination, options))
        return 130

    monkeypatch.setattr(single_run, "run", record)
    arguments = [command, f"{command}.yaml", "--store", str(store), *given]
    assert call(*arguments, monkeypatch=monkeypatch, folder=tmp_path) == 130
    ((study, destination, options),) = runs
    assert (destination.name, options.purpose) == (command, command)
    assert study.base.compute.precision == ("bf16" if given else "auto")
    assert options.workers == ((2, 3) if given else {"pretrain": (1, 1), "finetune": None}[command])
