"""`import emotune`: what it imports, what it refuses, what a result says."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import emotune
from emotune.api import experiments, searches
from emotune.errors import EmotuneError, SettingsError
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.runtime.test_coordinator import write_finished

HEAVY = {"torch", "ray", "mlflow", "pandas", "numpy", "ConfigSpace", "pydantic", "click", "rich"}


def imported_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_it_imports_no_package_and_takes_less_than_a_tenth_of_a_cpu_second() -> None:
    assert not imported_by("import emotune") & HEAVY

    def cpu_seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds("import emotune") - cpu_seconds("pass") for _ in range(5)) < 0.1


def test_a_budget_and_the_status_import_neither_torch_nor_ray() -> None:
    assert not imported_by("import emotune\nemotune.Budget(1, 27)\nemotune.Result") & {"torch", "ray", "mlflow"}
    assert not imported_by("import emotune\nemotune.status(storage='/nowhere')") & {"torch", "ray", "mlflow"}


@pytest.mark.parametrize("name", emotune.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert getattr(emotune, name).__doc__
    assert name in dir(emotune) or hasattr(emotune, name)


def test_search_is_a_function_and_the_package_of_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("emotune.api.search", lambda *arguments, **options: calls.append((arguments, options)))
    emotune.search("smoke", name="first")
    assert calls == [(("smoke",), {"name": "first"})]
    from emotune.search import Optimizer  # noqa: PLC0415 (the package, after the call)

    assert Optimizer.__module__ == "emotune.search.optimizer"


def request(**options: Any) -> Any:
    """Return the request of a search with the defaults of `emotune.search`."""
    defaults = searches.search.__wrapped__ if hasattr(searches.search, "__wrapped__") else searches.search
    return searches._request("smoke", dict(defaults.__kwdefaults__) | options)


def test_the_options_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMOTUNE_STORAGE", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.lab:5000")
    plain = request()
    assert (plain.storage, plain.tracking_uri) == (str(tmp_path), "http://tracking.lab:5000")
    assert (plain.name, plain.concurrency, plain.seed, plain.hours, plain.keep) == (None,) * 5
    full = request(
        overrides={"budget.max": 9, "searcher": {"kind": "asha"}, "base.store": "a b"},
        brackets="+1",
        hours=1.5,
        store=Path("s"),
        tracking_uri="http://user:p@ss@host",
        warm_start=["first"],
    )
    assert full.assignments == ("budget.max=9", 'searcher={"kind": "asha"}', 'base.store="a b"')
    assert (full.brackets.number, full.brackets.more, full.hours.hours) == (1, True, 1.5)
    assert (full.store, full.tracking_uri, full.warm_start) == ("s", "http://user:p%40ss@host", ("first",))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"concurrency": 0}, "--concurrency"),
        ({"keep": "some"}, "expected all, or best:K"),
        ({"hours": -1}, "expected hours above 0"),
        ({"brackets": "many"}, "--brackets"),
        ({"overrides": {"seed": float("nan")}}, "seed: nan was given; expected a number"),
        ({"overrides": {"seed": print}}, "expected a number, text, true, false, a list or a dictionary"),
    ],
    ids=str,
)
def test_an_impossible_option_is_an_error_of_the_package(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        request(**options)


@pytest.mark.parametrize(
    "call",
    [
        lambda: emotune.search("nosuch"),
        lambda: emotune.search("smoke", metric="loss"),
        lambda: emotune.search(print),
        lambda: emotune.status("nosuch"),
        lambda: emotune.stop("nosuch"),
        lambda: emotune.prepare("nosuch", store="s"),
        lambda: emotune.finetune("nosuch.yaml"),
        lambda: emotune.crossval("nosuch.yaml", protocol="subject"),
        lambda: emotune.predict("nosuch", "nosuch.edf"),
        lambda: emotune.load_encoder("nosuch"),
    ],
)
def test_mistakes_are_errors_of_the_package_and_start_nothing(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EmotuneError):
        call()
    assert not [path for path in tmp_path.rglob("*") if path.name != "mlflow.db"]


def test_a_result_has_the_best_configuration_and_a_row_per_evaluation(tmp_path: Path) -> None:
    folder = SearchFolder.of("first", storage=LocalStorage(tmp_path))
    folder.path.mkdir()
    records = write_finished(folder.path / "journal.jsonl")
    result = emotune.Result.read("first", storage=str(tmp_path))
    status = emotune.status("first", storage=tmp_path)
    assert result.best.values == status["best"]["values"]
    assert result.best.loss == result.best.objective == status["best"]["objective"]
    assert result.best.metrics["val/loss"] == result.best.objective
    table = result.table
    assert list(table["id"]) == [evaluation["id"] for evaluation in status["evaluations"]]
    assert set(result.best.values) < set(table.columns)
    assert result.mlflow_url is None
    page = result._repr_html_()
    assert f"<b>first</b>: {result.state}; best: val/loss" in page
    assert '<img alt="learning curves and the best configuration of the search" src="data:image/png;base64,' in page
    curves, best = result.figure().axes
    assert len(curves.lines) == table["config_id"].nunique() - (table["status"] == "failed").sum()
    assert min(best.lines[0].get_ydata()) == result.best.objective
    assert [document["name"] for document in emotune.status(storage=tmp_path)] == ["first"]
    assert len(records) > len(table)


@pytest.mark.parametrize(("code", "interrupted"), [(0, False), (1, False), (130, True), (143, True)])
def test_an_interrupted_search_raises_what_an_interrupt_raises(
    code: int, interrupted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = SearchFolder.of("smoke", storage=LocalStorage(tmp_path))
    folder.path.mkdir()
    write_finished(folder.path / "journal.jsonl")
    monkeypatch.setattr("emotune.cli.actions.search.search_or_plan", lambda request: code)
    if interrupted:
        with pytest.raises(KeyboardInterrupt, match="everything is saved, and the same call resumes it"):
            emotune.search("smoke", storage=tmp_path)
    else:
        assert emotune.search("smoke", storage=tmp_path).name == "smoke"


def test_a_cross_validation_that_was_stopped_has_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.cli.actions.crossval.cross_validate_experiment", lambda request: (0, None))
    with pytest.raises(KeyboardInterrupt):
        experiments.crossval("ecg.yaml", protocol="subject")


def test_a_script_without_a_guard_prepares_a_store_with_several_processes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import emotune\n"
        "store = emotune.prepare('synthetic', store='demo', seconds=2.5, workers=2, settings={'subjects': 2})\n"
        "print(len(store.index))\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
    assert done.stderr.count("Traceback") == 0
