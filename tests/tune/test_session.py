"""A search inside Ray Tune, without Ray: trials are simulated, in any order, with kills."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import SettingsError, StudyChangedError
from emotune.search import Optimizer
from emotune.search.records import EpochDone
from emotune.search.settings import virtual_workers
from emotune.storage import LocalStorage
from emotune.study.definition import Budget
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from emotune.study.results import evaluation_results, search_state
from emotune.tune import EmotuneSearch
from emotune.tune.searcher import SESSIONS
from emotune.tune.session import SavedCheckpoint
from tests.support.properties import examples

BUDGET = Budget(min=1, max=9, brackets=2)
Values = dict[str, int | float | str | bool]
Row = tuple[int, int, int, float | None]


def space() -> ConfigurationSpace:
    space = ConfigurationSpace(seed=0)
    space.add(Float("x", (0.0, 1.0)), Categorical("kind", ["a", "b"]))
    return space


def loss(values: Values, epoch: int) -> float:
    """Return the loss of a made-up training; some configurations diverge."""
    x = float(values["x"])
    return math.nan if x > 0.9 and epoch > 2 else (x - 0.3) ** 2 + len(str(values["kind"])) * 0.1 + 1 / epoch


def expected_table(concurrency: int) -> list[Row]:
    """Return the table of the search by the optimizer alone."""
    workers = virtual_workers(concurrency, order="strict")
    optimizer = Optimizer(space(), 1, 9, 3, seed=0, concurrency=workers, brackets=2)
    while (evaluation := optimizer.ask()) is not None:
        optimizer.tell(evaluation.id, loss(evaluation.values, evaluation.to_epoch))
    return [(e.config_id, e.from_epoch, e.to_epoch, value) for e, value in optimizer.results()]


def table(folder: SearchFolder) -> list[Row]:
    return [
        (r.evaluation.config_id, r.evaluation.from_epoch, r.evaluation.to_epoch, r.objective)
        for r in evaluation_results(read_journal(folder.journal))
    ]


class SimulatedTune:
    """Tune as the search meets it: trials that train, pause, resume, and are forgotten when the driver is killed.

    Args:
        storage: Where the journal is.
        concurrency: Trials at a time.
        choose: Returns a number below its argument: the trial that trains next.
    """

    def __init__(self, storage: Path, *, concurrency: int, choose: Callable[[int], int]) -> None:
        self.storage, self.concurrency, self.choose = storage, concurrency, choose
        self.trained: list[tuple[int, int]] = []
        self.started = 0
        self.start_driver()

    def start_driver(self) -> None:
        """Start a driver that has no trial."""
        self.search = EmotuneSearch(
            space(),
            budget=BUDGET,
            metric="loss",
            mode="min",
            name="mine",
            storage=self.storage,
            concurrency=self.concurrency,
            searcher={"order": "strict"},
        )
        self.session = self.search.session
        self.epochs: dict[str, int] = {}
        self.values: dict[str, Values] = {}

    def kill_driver(self) -> None:
        """End the driver without a record, and start another one."""
        self.session._journal.close()  # what the operating system does with the lock of a dead process
        SESSIONS.clear()  # so that the new driver does not record the end of the search for the dead one
        self.start_driver()

    def step(self) -> bool:
        """Add a trial if there is one, and train an epoch of a trial; return whether the search is not finished."""
        trial_id = f"trial{self.started}"
        suggestion = self.search.suggest(trial_id)
        if suggestion == "FINISHED":
            return False
        if isinstance(suggestion, dict):
            self.started += 1
            saved = self.session.checkpoint(trial_id)
            self.epochs[trial_id] = int(saved.metrics["training_iteration"] or 0) if saved else 0
            self.values[trial_id] = suggestion
        ready = [trial_id for trial_id in self.epochs if self.session.waits(trial_id)]
        self.train(ready[self.choose(len(ready))])
        return True

    def train(self, trial_id: str) -> None:
        """Train an epoch of a trial, save its checkpoint, and obey the decision."""
        epoch = self.epochs[trial_id] = self.epochs[trial_id] + 1
        self.trained.append((self.session.trials[trial_id], epoch))
        result = {"training_iteration": epoch, "loss": loss(self.values[trial_id], epoch), "pid": 1}
        decision = self.search.report(trial_id, result)
        checkpoint = SavedCheckpoint(path=trial_id, metrics={"training_iteration": epoch})
        self.session.record_checkpoint(trial_id, checkpoint)
        if decision == "stop":
            self.search.on_trial_complete(trial_id, result=result)
            del self.epochs[trial_id]


@pytest.mark.parametrize("concurrency", [1, 3])
@examples(0.4)
@given(data=st.data())
def test_in_any_order_and_with_kills_the_table_is_that_of_the_optimizer(
    data: st.DataObject, concurrency: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    storage = tmp_path_factory.mktemp("storage")
    tune = SimulatedTune(
        storage,
        concurrency=concurrency,
        choose=lambda number: data.draw(st.integers(0, number - 1)),
    )
    kills = data.draw(st.lists(st.integers(0, 60), max_size=3, unique=True))
    steps = 0
    while tune.step():
        steps += 1
        if steps in kills:
            tune.kill_driver()
    folder = SearchFolder.of("mine", storage=LocalStorage(storage))
    assert table(folder) == expected_table(concurrency)
    assert len(tune.trained) == len(set(tune.trained)), "an epoch was trained twice"
    records = read_journal(folder.journal)
    epochs = [(record.config_id, record.epoch) for record in records if isinstance(record, EpochDone)]
    assert sorted(epochs) == sorted(tune.trained)
    assert search_state(records, alive=False) == "finished"


def started(tmp_path: Path, **settings: object) -> EmotuneSearch:
    fixed = {"budget": BUDGET, "metric": "loss", "mode": "min", "name": "mine", "storage": tmp_path}
    return EmotuneSearch(space(), **{**fixed, **settings})  # pyright: ignore[reportArgumentType]


def test_with_more_than_two_trials_at_a_time_the_order_is_free_also_after_a_restart(tmp_path: Path) -> None:
    search = started(tmp_path, concurrency=4)
    assert isinstance(search.suggest("trial"), dict)
    search.session.close()
    resumed = started(tmp_path, concurrency=4).session
    assert (resumed.optimizer.settings.order, resumed.optimizer.settings.concurrency) == ("free", 4)
    resumed.close()
    with pytest.raises(StudyChangedError, match="order"):
        _ = started(tmp_path, concurrency=4, searcher={"order": "strict"}).session


def test_a_trial_that_ends_by_itself_keeps_its_last_value_at_later_rungs(tmp_path: Path) -> None:
    search = started(tmp_path)
    number = 0
    while (values := search.suggest(f"trial{number}")) != "FINISHED":
        assert isinstance(values, dict)
        result = {"training_iteration": 1, "loss": float(values["x"]), "done": True}
        search.on_trial_complete(f"trial{number}", result=result)
        number += 1
    rows = table(SearchFolder.of("mine", storage=LocalStorage(tmp_path)))
    values = {config_id: {row[3] for row in rows if row[0] == config_id} for config_id, *_ in rows}
    assert all(len(losses) == 1 for losses in values.values())
    assert max(row[2] for row in rows) == BUDGET.max


def test_a_failed_trial_is_a_failed_evaluation(tmp_path: Path) -> None:
    search = started(tmp_path)
    assert isinstance(search.suggest("trial"), dict)
    search.on_trial_complete("trial", error=True)
    result = evaluation_results(read_journal(SearchFolder.of("mine", storage=LocalStorage(tmp_path)).journal))[0]
    assert (result.status, result.objective) == ("failed", None)


def test_another_budget_under_the_same_name_is_refused(tmp_path: Path) -> None:
    started(tmp_path).session.close()
    with pytest.raises(StudyChangedError, match=r"budget\.max was 9 and is now 27.*or another name"):
        started(tmp_path, budget=Budget(min=1, max=27, brackets=2)).suggest("trial")


@pytest.mark.parametrize("model", ["rungs", "gain"])
def test_a_search_resumes_with_the_model_that_was_the_default_at_its_start(tmp_path: Path, model: str) -> None:
    search = started(tmp_path)
    if model == "rungs":  # the record of an older version names no model
        folder = SearchFolder.of("mine", storage=LocalStorage(tmp_path))
        folder.path.mkdir(parents=True)
        with contextlib.closing(Journal.open(folder.journal, owner="mine")) as journal:
            journal.append(search._first_record())
    assert search.session.optimizer.settings.model == model
    search.session.close()
    with pytest.raises(StudyChangedError, match=r"searcher\.model"):
        started(tmp_path, searcher={"model": "hpbandster"}).suggest("trial")
    again = started(tmp_path, searcher={"model": model})
    assert again.session.optimizer.settings.model == model


def test_a_second_searcher_of_the_same_process_takes_over(tmp_path: Path) -> None:
    first, second = started(tmp_path), started(tmp_path)
    values = first.suggest("trial")
    assert second.suggest("other") == values


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda search: search.set_max_concurrency(4), "max_concurrent_trials=4 .* concurrency=1"),
        (lambda search: search.check_objective("accuracy", None), "metric='accuracy' .* metric='loss'"),
        (lambda search: search.check_objective("loss", "max"), "mode='max' .* mode='min'"),
        (lambda search: search.report("t", {"training_iteration": 1}), "no 'loss'; it has training_iteration"),
        (lambda search: search.report("t", {"loss": 1.0}), "no 'training_iteration'"),
        (lambda search: search.report("t", {"training_iteration": 1, "loss": "low"}), "loss: 'low' .* a number"),
    ],
)
def test_a_mistake_is_one_line(action: Callable[[EmotuneSearch], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        action(started(tmp_path))
    assert "\n" not in str(error.value)


def test_a_distribution_in_param_space_is_refused(tmp_path: Path) -> None:
    from ray import tune  # noqa: PLC0415 (slow)

    search = started(tmp_path)
    assert search.set_search_properties(None, None, {"folder": "data", "width": 3})
    with pytest.raises(SettingsError, match="param_space: optim/lr has a distribution"):
        search.set_search_properties(None, None, {"optim": {"lr": tune.loguniform(1e-4, 1e-1)}})


def test_settings_are_checked_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected one name"):
        started(tmp_path, metric=["loss", "size"])
    with pytest.raises(SettingsError, match="mode: 'minimize' was given; expected 'min' or 'max'"):
        started(tmp_path, mode="minimize")
    with pytest.raises(SettingsError, match=r"bohbb.*bohb"):
        started(tmp_path, searcher={"kind": "bohbb"})
