"""The cross-validation of a table's stage resumes as it was started, whatever the options are."""

from pathlib import Path

import pytest

from emotune.cli.actions.reproduce import StageRunner
from emotune.cli.reproduce import ReproduceRequest
from emotune.reproduce.recipes import SMOKE
from emotune.reproduce.stages import Stage
from emotune.storage import LocalStorage
from tests.evaluation.conftest import cross_validate, unimodal


@pytest.mark.parametrize("started", [True, False])
def test_shuffled_controls_are_those_of_the_start(
    started: bool, stores: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage("folds", unimodal(stores["ecg"]))
    options = {"table": "ecg-table-2", "scale": "smoke", "stores": "", "raw": None, "incomplete": False}
    request = ReproduceRequest(storage=str(tmp_path), dry_run=False, shuffled=not started, **options)
    runner = StageRunner(LocalStorage(tmp_path), request=request, scale=SMOKE)
    folds = SMOKE.folds * (1 if started else 2)
    assert runner.study_of(stage).budget.evaluations == folds
    cross_validate(stage.experiment, runner.folder(stage), finish=False, shuffled=started)
    assert runner.study_of(stage).budget.evaluations == SMOKE.folds * (2 if started else 1)
    kind = "with" if started else "without"
    assert f"was started {kind} shuffled labels, and resumes {kind} them" in capsys.readouterr().err
