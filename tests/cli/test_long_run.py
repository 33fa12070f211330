"""Promises of the commands for runs that several workers share, up to where Ray would be started."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from emotune.cli import finetune, main, pretrain
from emotune.cli.running import Request
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
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
def test_more_workers_than_a_batch_has_segments_are_refused_in_a_line(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    arguments = ["pretrain", "pretrain.yaml", "--store", str(store), "--workers", workers]
    assert call(*arguments, monkeypatch=monkeypatch, folder=tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be shared out among 17 workers; use fewer workers or a larger batch_size" in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("workers", ["0", "3..2", "many", "2.."])
def test_a_number_of_workers_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    arguments = ["pretrain", "pretrain.yaml", "--workers", workers]
    assert call(*arguments, monkeypatch=monkeypatch, folder=tmp_path) == 2
    assert f"'{workers}' is neither a number of workers nor a range such as 2..8" in capsys.readouterr().err


@pytest.mark.parametrize("module", [pretrain, finetune])
@pytest.mark.parametrize("given", [[], ["--precision", "bf16", "--workers", "2..3"]])
def test_precision_and_workers_of_the_command_line_are_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, given: list[str]
) -> None:
    asked: list[tuple[Study, Request]] = []

    def take(study: Study, request: Request) -> int:
        asked.append((study, request))
        return 130

    monkeypatch.setattr(finetune, "run", take)  # both commands run there
    command = module.__name__.rsplit(".", 1)[-1]
    assert call(command, f"{command}.yaml", *given, monkeypatch=monkeypatch, folder=tmp_path) == 130
    ((study, request),) = asked
    assert request.options.purpose == command
    assert study.base.compute.precision == ("bf16" if given else "auto")
    assert request.options.workers == ((2, 3) if given else {"pretrain": (1, 1), "finetune": None}[command])
