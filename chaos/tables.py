"""A table of the papers, from raw corpora to its files: killed twice, it equals its undisturbed twin."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from chaos.bench import DECIDED, Bench, Driver, require
from emotune.cli.actions.status import read_status
from emotune.data.store import SegmentStore
from emotune.search.records import Ended, EpochDone
from emotune.storage import LocalLog
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import search_state
from tests.data.examples.emotion import amigos_subject, save_amigos
from tests.support.corpora import write_corpora

TABLE = "multimodal-table-2"
TABLE_S = 3600.0
"""Longest time of a whole table (s)."""

VIDEO_S = 12
"""Length of a video: a segment of 10 s with a label (s)."""


def reproduce_killed(bench: Bench, total: int) -> None:
    """Kill ``reproduce`` while it prepares a store and while it trains, and compare it with an undisturbed twin."""
    del total
    raw = write_corpora(bench.root / "raw")
    for number in (1, 2):
        save_amigos(raw / "AMIGOS", number, amigos_subject(number, seconds=VIDEO_S))
    click.echo(compare_with_twin(bench, raw), err=True)


def compare_with_twin(bench: Bench, raw: Path) -> str:
    """Run a table from raw corpora without and with kills, require equal results, and return their numbers.

    Raises:
        BrokenPromiseError: The results differ, or a recorded result was trained again.
    """
    twin, killed = bench.root / "undisturbed", bench.root / "killed"
    undisturbed = reproduce(bench, raw, out=twin)
    finish(undisturbed)
    for condition in (is_preparing, is_training):
        driver = reproduce(bench, raw, out=killed)
        bench.wait_until(lambda reached=condition: reached(killed), driver=driver, timeout=TABLE_S)
        driver.process.kill()
        driver.wait()
    before = {journal: journal.read_bytes() for journal in journals_of(killed)}
    again = sum(unsaved_epochs(journal) for journal in before)
    ended = [journal for journal in before if is_finished(journal)]
    resumed = reproduce(bench, raw, out=killed)
    finish(resumed)
    changed = [journal.parent.name for journal in ended if journal.read_bytes() != before[journal]]
    require(not changed, f"finished runs were started again: {changed}")
    lost = [journal.parent.name for journal, content in before.items() if not journal.read_bytes().startswith(content)]
    require(not lost, f"records were lost: {lost}")
    tables = [driver.output.read_text().rpartition("written to")[0] for driver in (undisturbed, resumed)]
    require(tables[0] and tables[0] == tables[1], f"the printed tables differ: {tables}")
    return f"{require_equal(twin, killed)}; {len(ended)} runs were finished at the kill; {again} epochs trained again"


def reproduce(bench: Bench, raw: Path, *, out: Path) -> Driver:
    """Start a rehearsal of the table, with its stores and results in a folder."""
    folders = ("--raw", str(raw), "--stores", str(out / "stores"), "--storage", str(out / "results"))
    options = ("--scale", "smoke", "--incomplete", "--concurrency", "1")
    return bench.start("reproduce", TABLE, *folders, *options)


def finish(driver: Driver) -> None:
    """Wait for the end, and require success."""
    code = driver.wait(TABLE_S)
    require(code == 0, f"exit code {code}: {driver.message}")


def is_preparing(out: Path) -> bool:
    """Return whether a store exists, and the next one is being prepared."""
    stores = out / "stores"
    return (stores / "amigos-ecg-10s").is_dir() and any(stores.glob(".*"))


def is_training(out: Path) -> bool:
    """Return whether a cross-validation has trained epochs and is not finished."""
    journals = [journal for journal in journals_of(out) if journal.parent.name.startswith("folds-")]
    return any(epochs_of(journal) and not is_finished(journal) for journal in journals)


def is_finished(journal: Path) -> bool:
    """Return whether a run ended with all its results."""
    return search_state(read_journal(LocalLog(journal)), alive=False) == "finished"


def unsaved_epochs(journal: Path) -> int:
    """Return how many recorded epochs of evaluations that have not ended have no checkpoint, and are trained again."""
    records = read_journal(LocalLog(journal))
    ended = {record.evaluation_id for record in records if isinstance(record, Ended)}
    running = [record for record in records if isinstance(record, EpochDone) and record.evaluation_id not in ended]
    saved = {
        record.config_id: max(
            map(epoch_of, (journal.parent / "configurations").glob(f"{record.config_id:05d}/epoch-*")), default=0
        )
        for record in running
    }
    return sum(record.epoch > saved[record.config_id] for record in running)


def epoch_of(checkpoint: Path) -> int:
    """Return the number of a checkpoint's epoch."""
    return int(checkpoint.name.removeprefix("epoch-"))


def journals_of(out: Path) -> list[Path]:
    """Return the journals of all runs of a table."""
    return sorted((out / "results").glob("*/journal.jsonl"))


def epochs_of(journal: Path) -> list[tuple[int, int]]:
    """Return the configuration and the number of every recorded epoch."""
    records = read_journal(LocalLog(journal))
    return [(record.config_id, record.epoch) for record in records if isinstance(record, EpochDone)]


def require_equal(twin: Path, killed: Path) -> str:
    """Require that two tables have equal stores, runs, weights and files, and return how many of each."""
    names = [[store.name for store in folders(out / "stores")] for out in (twin, killed)]
    require(names[0] == names[1], f"the folders beside the stores differ: {names}")
    stores = [[SegmentStore.open(out / "stores" / name).fingerprint for name in names[0]] for out in (twin, killed)]
    require(stores[0] == stores[1], f"the stores differ: {stores}")
    journals = [{file.parent.name: file for file in journals_of(out)} for out in (twin, killed)]
    require(journals[0].keys() == journals[1].keys(), f"the runs differ: {[sorted(names) for names in journals]}")
    epochs = 0
    for name, journal in journals[0].items():
        trained = [epochs_of(runs[name]) for runs in journals]
        repeated = [epoch for epoch, count in Counter(trained[1]).items() if count > 1]
        require(not repeated, f"{name}: epochs were recorded again: {repeated}")
        require(sorted(trained[0]) == sorted(trained[1]), f"{name}: the recorded epochs differ")
        require(evaluations(journal) == evaluations(journals[1][name]), f"{name}: the evaluations differ")
        epochs += len(trained[0])
    same = [{str(file.relative_to(out)): file.read_bytes() for file in results_of(out)} for out in (twin, killed)]
    require(same[0].keys() == same[1].keys(), f"files differ: {sorted(same[0].keys() ^ same[1].keys())}")
    others = [name for name, content in same[0].items() if content != same[1][name]]
    require(not others, f"the content of files differs: {others}")
    return f"equal: {len(stores[0])} stores, {len(journals[0])} runs, {epochs} epochs, {len(same[0])} files"


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones too."""
    return sorted(path for path in folder.iterdir() if path.is_dir())


def evaluations(journal: Path) -> list[dict]:
    """Return every evaluation with its values and its objective."""
    return [
        {key: evaluation[key] for key in DECIDED}
        for evaluation in read_status(SearchFolder.at(journal.parent))["evaluations"]
    ]


def results_of(out: Path) -> Iterator[Path]:
    """Yield the files that must be equal byte for byte: signals, tables and weights."""
    yield from sorted((out / "stores").glob("*/signal.npy"))
    yield from sorted((out / "stores").glob("*/index.parquet"))
    yield from sorted(path for path in (out / "results").glob(f"{TABLE}-*/*") if path.is_file())
    for configuration in sorted((out / "results").glob("*/configurations/*")):
        yield max(configuration.glob("epoch-*"), key=epoch_of) / "weights.safetensors"
