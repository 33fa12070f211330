"""Commands that are killed: the next call works, and has the same result as one that was never disturbed."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from chaos.bench import Bench, require
from emotune.data.modality import Modality
from emotune.data.store import SegmentStore
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.evaluation.conftest import cross_validate, make_store, unimodal

KILLS = 3
"""Number of times that a command is killed before it may end."""

BEAT_HZ = 1.2
RECORDING_S = 60
RECORDING_FS = 200

EXPERIMENT = """
model: {channels: [4, 8], kernels: [5, 3], feedforward: 8, layers: 1, attention_dropout: 0}
task: {kind: classify, hidden: [8, 6], dropout: 0.1}
optim: {warmup_epochs: 1}
epochs: 2
batch_size: 32
"""


def append_killed(bench: Bench, total: int) -> None:
    """Kill ``data prepare --append`` again and again, while it writes and while it replaces the store."""
    del total
    recordings = make_recordings(bench.root / "recordings")
    base = ("synthetic", "--seconds", "2", "--set", "subjects=3", "--set", "seconds_per_state=20")
    more = ("folder", str(recordings), "--append", "--seconds", "2")
    stores = [bench.root / "expected", bench.root / "store"]
    for store in stores:
        bench.start("data", "prepare", *base, "--store", str(store)).finish()
    bench.start("data", "prepare", *more, "--store", str(stores[0])).finish()
    before, after = SegmentStore.open(stores[1]).fingerprint, SegmentStore.open(stores[0]).fingerprint
    require(before != after, "nothing was appended")
    kill_repeatedly(bench, ["data", "prepare", *more, "--store", str(stores[1])], folder=bench.root)
    bench.start("data", "prepare", *more, "--store", str(stores[1])).finish()
    require(SegmentStore.open(stores[1]).fingerprint == after, "the store is another")
    require(_names(bench.root, "*store*") == {"store"}, f"left: {_names(bench.root, '*store*')}")


def make_recordings(folder: Path) -> Path:
    """Write ECG recordings of two people with a manifest, and return their folder."""
    folder.mkdir()
    times = np.arange(RECORDING_S * RECORDING_FS) / RECORDING_FS
    for person in (1, 2):
        beat = (times * BEAT_HZ * (1 + person / 20)) % 1
        ecg = np.exp(-(((beat - 0.5) / 0.02) ** 2)) + 0.2 * np.exp(-(((beat - 0.8) / 0.05) ** 2))
        noise = np.random.default_rng(person).normal(0, 0.01, len(ecg))
        lines = [f"{value:.5f}" for value in ecg + noise]
        (folder / f"person{person}.csv").write_text("\n".join(["ECG", *lines]) + "\n")
    rows = [f"person{person}.csv,p{person},{RECORDING_FS},mV" for person in (1, 2)]
    (folder / "manifest.csv").write_text("\n".join(["file,subject,fs,units", *rows]) + "\n")
    return folder


def fuse_killed(bench: Bench, total: int) -> None:
    """Kill ``fuse`` again and again."""
    del total
    modalities: tuple[Modality, ...] = ("ecg", "eeg")
    for modality in modalities:
        store = make_store(bench.root / f"store-{modality}", modality=modality)
        cross_validate(unimodal(store), SearchFolder.of(f"{modality}-cv", storage=LocalStorage(bench.storage)))
    expected, out = bench.root / "expected", bench.root / "fused"
    bench.start("fuse", "ecg-cv", "eeg-cv", "--out", str(expected)).finish()
    kill_repeatedly(bench, ["fuse", "ecg-cv", "eeg-cv", "--out", str(out)], folder=bench.root)
    bench.start("fuse", "ecg-cv", "eeg-cv", "--out", str(out)).finish()
    same = SegmentStore.open(out).fingerprint == SegmentStore.open(expected).fingerprint
    require(same, "the features are others")
    require(_names(bench.root, "*fused*") == {"fused"}, f"left: {_names(bench.root, '*fused*')}")


def crossval_killed(bench: Bench, total: int) -> None:
    """Kill ``crossval`` between and in its folds, and resume it."""
    del total
    experiment = bench.root / "experiment.yaml"
    experiment.write_text(EXPERIMENT)
    options = ("--protocol", "subject", "--folds", "3", "--no-shuffled", "--json")

    def command(name: str) -> list[str]:
        store = ("--store", str(bench.store), "--name", name)
        return ["crossval", str(experiment), *options, *store, "--set", "compute.device=cpu"]

    undisturbed = bench.start(*command("undisturbed"))
    undisturbed.finish()
    journal = bench.storage / "killed" / "journal.jsonl"
    for records in (2, 5):
        driver = bench.start(*command("killed"))
        bench.wait_until(lambda count=records: _lines(journal) >= count, driver=driver)
        driver.process.kill()
        driver.wait()
    resumed = bench.start(*command("killed"))
    resumed.finish()
    documents = [json.loads(driver.output.read_text()) for driver in (undisturbed, resumed)]
    scores = [{key: value for key, value in document.items() if key != "name"} for document in documents]
    require(_rounded(scores[0]) == _rounded(scores[1]), f"scores differ: {scores}")


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _rounded(value: object) -> object:
    """Return a document without what differs between two runs of the same: paths and times."""
    if isinstance(value, dict):
        ignored = {"seconds", "results", "mlflow", "folder", "time"}
        return {key: _rounded(item) for key, item in value.items() if key not in ignored}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def report_killed(bench: Bench, total: int) -> None:
    """Kill ``report`` again and again: the page is the old one or the whole new one."""
    del total
    bench.search().finish()
    page = bench.folder / "report.html"
    bench.start("report", "try").finish()
    expected = page.read_text()
    require(expected.rstrip().endswith("</html>"), "the page is not whole")
    kill_repeatedly(bench, ["report", "try"], folder=bench.folder, check=lambda: _require_page(page))
    bench.start("report", "try").finish()
    _require_page(page)


def _require_page(page: Path) -> None:
    require(page.read_text().rstrip().endswith("</html>"), "the page is not whole")


def best_killed(bench: Bench, total: int) -> None:
    """Kill ``best --out`` again and again: the file is the old one or the whole new one."""
    del total
    bench.search().finish()
    file = bench.root / "out" / "best.yaml"
    file.parent.mkdir()
    file.write_text("# an older file\n")
    old = _digest(file)
    bench.start("best", "try", "--out", str(bench.root / "expected.yaml")).finish()
    new = _digest(bench.root / "expected.yaml")

    def check() -> None:
        require(_digest(file) in {old, new}, f"the file is neither the old nor the new one: {file.read_text()[:200]}")

    kill_repeatedly(bench, ["best", "try", "--out", str(file)], folder=file.parent, check=check)
    bench.start("best", "try", "--out", str(file)).finish()
    require(_digest(file) == new, "the file is another")
    require(_names(file.parent, "*") == {"best.yaml"}, f"left: {_names(file.parent, '*')}")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def fresh_killed(bench: Bench, total: int) -> None:
    """Kill ``search --fresh`` while it puts the old results aside: they are kept, and the next call works."""
    del total
    bench.search().finish()
    table, journals = bench.table(), {_digest(bench.journal)}
    kill_repeatedly(bench, bench.search_command("--fresh"), folder=bench.storage)
    kept = {_digest(journal) for journal in bench.storage.glob("*/journal.jsonl")}
    require(journals <= kept, "the old journal is gone")
    bench.search("--fresh").finish()
    require(bench.table() == table, "the new search has another table")


def kill_repeatedly(
    bench: Bench, command: Sequence[str], *, folder: Path, check: Callable[[], None] = lambda: None
) -> None:
    """Kill a command `KILLS` times at the moment it changes a folder, or a random moment later.

    Args:
        bench: The try.
        command: The arguments of ``emotune``.
        folder: The folder that the command changes.
        check: Called after each kill.
    """
    for number in range(KILLS):
        before = _content(folder)
        driver = bench.start(*command)
        while driver.process.poll() is None and _content(folder) == before:
            time.sleep(0.001)
        time.sleep(bench.chance.choice([0, 0, 0.005, 0.05]) * number)
        driver.process.kill()
        driver.wait()
        check()


def _content(folder: Path) -> set[tuple[str, int]]:
    """Return names and numbers of the files in a folder, but for the output of commands."""
    names = (path for path in folder.iterdir() if path.suffix not in {".out", ".err"})
    return {(path.name, path.lstat().st_ino) for path in names}


def _names(folder: Path, pattern: str) -> set[str]:
    """Return the names in a folder that match a pattern, hidden ones too."""
    return {path.name for path in folder.glob(pattern)}
