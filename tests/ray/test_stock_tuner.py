"""`EmotuneSearch` and `EmotuneScheduler` in a user's own ``tune.Tuner``, on a real Ray."""

import sys
import time
from collections import Counter
from pathlib import Path

from emotune.search import Optimizer
from emotune.search.records import EpochDone
from emotune.search.settings import virtual_workers
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, search_state
from tests.ray.conftest import Program
from tests.ray.stock_tuner import BUDGET, CONCURRENCY, loss, space


def lines(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def kill_after(program: Program, folder: Path, *arguments: str, epochs: int) -> None:
    process = program.run([sys.executable, "-m", "tests.ray.stock_tuner", str(folder), *arguments])
    while len(lines(folder)) < epochs:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    process.wait()


def test_killed_restored_and_in_a_new_tuner_it_ends_like_an_undisturbed_one(program: Program, tmp_path: Path) -> None:
    kill_after(program, tmp_path, "first", epochs=8)
    kill_after(program, tmp_path, "first", "--restore", epochs=20)
    last = program.run([sys.executable, "-m", "tests.ray.stock_tuner", str(tmp_path), "second"])
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors

    optimizer = Optimizer(
        space(), 1, 9, 3, concurrency=virtual_workers(CONCURRENCY, order="strict"), brackets=BUDGET.brackets
    )
    while (evaluation := optimizer.ask()) is not None:
        optimizer.tell(evaluation.id, loss(evaluation.values, evaluation.to_epoch))
    records = read_journal(SearchFolder.of("mine", storage=LocalStorage(tmp_path / "results")).journal)
    assert [(r.evaluation, r.objective) for r in evaluation_results(records)] == optimizer.results()
    assert search_state(records, alive=False) == "finished"

    recorded = Counter((record.config_id, record.epoch) for record in records if isinstance(record, EpochDone))
    assert max(recorded.values()) == 1
    trained = Counter(lines(tmp_path))
    again = sum(count - 1 for count in trained.values())
    assert again <= 2 * 2 * CONCURRENCY, "of each kill, a trial repeats at most the epochs since its last checkpoint"
    assert len(trained) == len(recorded)
