"""Twenty mistakes of newcomers: each is answered in one line that names what was given and what to type."""

import re
import shutil
from pathlib import Path

import pytest

from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.cli.test_program import run
from tests.runtime.test_coordinator import write_finished

__all__ = ["run"]

MISTAKES = [
    # names of commands, options and searches
    (("serach", "smoke"), r"No such command 'serach'\. Did you mean 'search'\?"),
    (("search", "smoke", "--stroe", "store"), r"No such option '?--stroe'?.*--store"),
    (("status", "frist"), r"there is no search 'frist' in .*results\. Did you mean 'first'\?"),
    (("status", "xyz"), r"there is no search 'xyz' in .*results; give one of: first, second"),
    (("report", "first", "--storage", "elsewhere"), r"in .*elsewhere; it holds no search yet.*--storage"),
    (
        ("status", "--storage", "results/first"),
        r"--storage: .*results/first is the folder of one search; give the folder",
    ),
    (("report", "first", "--storage", "results/first"), r"results/first is the folder of one search; give the folder"),
    (("search", "first", "--store", "store"), r"there is no study 'first'.*`emotune resume first`"),
    (("stop", "first"), r"the search 'first' is not running; there is nothing to stop"),
    (("search", "smoke", "--store", "store", "--name", "my search"), r"the name 'my search' cannot be used: up to 100"),
    (("search", "smoke", "--store", "store", "--name", "new", "--retry-failed"), r"there is no search 'new'"),
    (("search", "smoke", "--store", "store", "--name", "first", "--retry-failed", "--fresh"), r"leave one of them out"),
    # studies and settings
    (("search", "smok", "--store", "store"), r"there is no study 'smok'\. Did you mean 'smoke'\?"),
    (
        ("search", "my_study.yml", "--store", "store"),
        r"there is no study 'my_study.yml': give a file, or one of .*smoke",
    ),
    (("search", "smoke", "--store", "store", "--set", "budget.mx=9"), r"budget\.mx.*Did you mean 'max'\?"),
    (("search", "smoke", "--store", "store", "--set", "base.optim.learning_rate=1"), r"optim\.learning_rate.*is not"),
    (("search", "smoke", "--store", "store", "--set", "budget.max"), r"--set budget\.max: expected key=value"),
    (
        ("search", "smoke", "--store", "store", "--set", "budget.max=nine"),
        r"budget\.max: 'nine' was given, expected a whole",
    ),
    (
        ("search", "smoke", "--store", "store", "--set", "budget.max=0"),
        r"^emotune: --set budget\.max=0: budget\.max: 0 was",
    ),
    (("search", "smoke", "--store", "store", "--set", "searcher.kind=bhob"), r"'bhob'.*[Dd]id you mean 'bohb'\?"),
    (("search", "smoke", "--store", "store", "--seed", "-1"), r"--seed.*-1 is not in the range"),
    (
        ("search", "smoke", "--store", "store", "--brackets", "+1"),
        r"--brackets \+1 extends a finished search, but 'smoke' is a",
    ),
    (
        ("search", "smoke", "--store", "store", "--share", "0.5", "--concurrency", "4"),
        r"--share 0\.5 and --concurrency 4 were given; both set",
    ),
    (("search", "smoke", "--store", "store", "--share", "2"), r"--share.*2\.0 is not in the range"),
    (
        ("search", "smoke", "--store", "store", "--set", 'base.compute.resources={{"GPU": 1}}'),
        r"compute\.resources.*GPU was given; the number of GPUs follows from --trials-per-gpu",
    ),
    (
        ("search", "smoke", "--store", "store", "--set", 'base.compute.resources={{"lab": 1.5}}'),
        r"lab: 1\.5 was given; expected an amount above 0, and above 1 a whole number",
    ),
    # stores, encoders and files
    (("search", "smoke"), r"no segment store was given; give --store, set EMOTUNE_STORE"),
    (("search", "smoke", "--store", "stor"), r"/stor is not a segment store.*Did you mean 'store'\?"),
    (
        ("search", "smoke", "--store", "store/about.json"),
        r"store/about\.json is not a segment store.*Did you mean '.*store'\?",
    ),
    (("finetune", "best.yaml", "--store", "store"), r"best\.yaml: cannot be read: No such file or directory"),
    (
        ("finetune", "{examples}/finetune.yaml", "--store", "store", "--encoder", "frist"),
        r"no encoder or model 'frist'.*Did you mean 'first'\?",
    ),
    (("best", "first", "--out", "."), r"--out \.: this is a folder; give the path of a file in it"),
    (
        ("best", "first", "--out", "no/best.yaml"),
        r"--out no/best\.yaml: the folder .*/no does not exist; create it first",
    ),
    (("predict", "frist", "recording.csv"), r"no encoder or model 'frist'.*Did you mean 'first'\?"),
    (
        ("data", "prepare", "foldr", "recordings", "--store", "new"),
        r"there is no corpus 'foldr'.*Did you mean 'folder'\?",
    ),
    (("data", "describe", "stor"), r"stor is not a segment store.*Did you mean 'store'\?"),
    (
        ("search", "smoke", "--store", "store", "--storage", "s3:/bucket/x"),
        r"s3:/bucket/x.* was given, expected s3://BUCKET/PREFIX",
    ),
    (
        ("search", "smoke", "--store", "store", "--storage", "store/about.json"),
        r"--storage .*about\.json: this is a file; give a folder",
    ),
    (("sync", "first", "--tracking-uri", "localhost:5000"), r"--tracking-uri localhost:5000: .*http://localhost:5000"),
    (("sync", "first", "--tracking-uri", "mlflow.db"), r"--tracking-uri mlflow\.db: .*sqlite:////.*/mlflow\.db, if it"),
    (("crossval", "{examples}/crossval_ecg.yaml", "--store", "store"), r"Missing option '--protocol'\. Choose from: "),
    (("data", "describe", "store", "--plot", "page"), r"--plot page: the name must end in \.png"),
    (("data", "prepare", "synthetic", "--store", "new", "--seconds", "0"), r"--seconds 0\.0: seconds: 0\.0 was given"),
    (
        ("data", "prepare", "synthetic", "--store", "new", "--seconds", "5", "--set", "seconds=4"),
        r"--seconds 5\.0 and --set seconds were given; leave one of them out",
    ),
    (
        ("data", "prepare", "synthetic", "--store", "new", "--set", "band=[50, 1]"),
        r"data prepare: band: 50 to 1 Hz was given",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_store: Path) -> Path:
    """A folder with a store and two searches."""
    root = tmp_path_factory.mktemp("newcomer")
    for name in ("first", "second"):
        search = SearchFolder.of(name, storage=LocalStorage(root / "results"))
        search.path.mkdir(parents=True)
        write_finished(search.path / "journal.jsonl")
    shutil.copytree(small_store, root / "store")
    return root


@pytest.mark.parametrize(("arguments", "answer"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_answered_in_a_line_that_says_what_to_type(
    run, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], answer: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("EMOTUNE_STORE", raising=False)
    examples = Path(__file__).parents[2] / "examples"
    outcome = run(*(word.format(examples=examples) for word in arguments))
    assert re.search(answer, outcome.err), outcome.err
    assert outcome.code == 2
    lines = outcome.err.splitlines()
    assert [line for line in lines if line.startswith("emotune: ")] == lines[-1:], "facts about the data may precede it"
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
