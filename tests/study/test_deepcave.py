"""A search in the files of HpBandSter, read back by hpbandster itself."""

from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace
from hpbandster.core.result import Result, logged_results_to_HBS_result

from emotune.errors import SettingsError
from emotune.search.records import Opened, Record
from emotune.study.deepcave import deepcave_files
from emotune.study.results import evaluation_results, find_best, last_ends
from emotune.study.space import load_space
from tests.support.journals import SPACE, synthetic_search


def read_back(records: list[Record], folder: Path) -> Result:
    for name, content in deepcave_files(records).files.items():
        (folder / name).write_text(content)
    return logged_results_to_HBS_result(str(folder))


def with_mode(records: list[Record], mode: str) -> list[Record]:
    first = records[0]
    assert isinstance(first, Opened)
    study = {**first.study, "objective": {"metric": "val/loss", "mode": mode}}
    return [first.model_copy(update={"study": study}), *records[1:]]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_hpbandster_reads_every_evaluation_that_has_ended(tmp_path: Path, mode: str) -> None:
    records = with_mode(synthetic_search(configurations=30, failing=0.2), mode)
    sign = 1.0 if mode == "min" else -1.0
    result = read_back(records, tmp_path)
    runs = {(run.config_id[2], run.budget): run for run in result.get_all_runs()}
    evaluations = evaluation_results(records)
    assert len(runs) == len(evaluations) > 30
    ends = last_ends(records)
    assert {evaluation.status for evaluation in evaluations} == {"done", "failed"}
    for evaluation in evaluations:
        run = runs[evaluation.evaluation.config_id, float(evaluation.evaluation.to_epoch)]
        done = evaluation.status == "done"
        assert run.loss == (sign * (evaluation.objective or 0.0) if done else float("inf"))
        assert run.info["state"] == ("SUCCESS" if done else "CRASHED")
        assert run.error_logs == evaluation.error
        seconds = ends[evaluation.evaluation.id].seconds
        assert run.time_stamps["finished"] - run.time_stamps["started"] == pytest.approx(seconds, abs=1e-5)
        values = result.get_id2config_mapping()[run.config_id]["config"]
        assert values == evaluation.evaluation.values


def test_hpbandster_finds_the_same_best_configuration(tmp_path: Path) -> None:
    records = synthetic_search(configurations=12)
    result, best = read_back(records, tmp_path), find_best(evaluation_results(records), mode="min")
    assert best is not None
    assert result.get_incumbent_id()[2] == best.config_id
    assert result.get_incumbent_trajectory()["losses"][-1] == best.objective


def test_the_space_is_read_by_configspace(tmp_path: Path) -> None:
    read_back(synthetic_search(configurations=3), tmp_path)
    assert ConfigurationSpace.from_json(tmp_path / "configspace.json") == load_space(SPACE)


def test_evaluations_without_an_end_are_counted() -> None:
    records = synthetic_search(configurations=6, state=None)
    last = max(index for index, record in enumerate(records) if record.kind == "ended")
    results = deepcave_files(records[:last])
    assert (results.evaluations, results.running) == (len(evaluation_results(records)) - 1, 1)


def test_a_single_run_and_a_search_without_results_are_refused() -> None:
    records = synthetic_search(configurations=3)
    with pytest.raises(SettingsError, match="wait until an evaluation has ended"):
        deepcave_files(records[:1])
    first = records[0]
    assert isinstance(first, Opened)
    with pytest.raises(SettingsError, match="give the name of a search"):
        deepcave_files([first.model_copy(update={"purpose": "pretrain"}), *records[1:]])
